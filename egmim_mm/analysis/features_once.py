"""Several heads on one frozen backbone: the features of an image are computed once."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ['features_once']


@contextmanager
def features_once(model: nn.Module) -> Iterator[Callable]:
    """Within, ``model.extract_feat`` computes the windows of an image once for several heads, which ask in one order.

    Yields:
        A context manager for one image; it yields what is called before each head.
    """
    computed = model.extract_feat
    maps, place = [], 0

    def remembered(inputs: Tensor) -> tuple[Tensor, ...]:
        nonlocal place
        if place == len(maps):
            maps.append(computed(inputs))
        place += 1
        return maps[place - 1]

    def again() -> None:
        nonlocal place
        place = 0

    @contextmanager
    def image() -> Iterator[Callable[[], None]]:
        try:
            yield again
        finally:
            maps.clear()

    model.extract_feat = remembered
    try:
        yield image
    finally:
        del model.extract_feat
