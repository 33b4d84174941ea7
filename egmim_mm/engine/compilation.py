"""``compile=True`` of a config: torch.compile for the parts of a model that do the arithmetic."""
import logging
import warnings
from collections.abc import Callable, Iterator

import torch
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import nn
from torch._dynamo.exc import TorchDynamoException

__all__ = ['compile_parts', 'parts_to_compile']


def parts_to_compile(model: nn.Module) -> Iterator[nn.Module]:
    """Backbone, neck and heads: what takes tensors alone and returns tensors; losses and masks stay as they are."""
    model = model.module if is_model_wrapper(model) else model
    for name in ('backbone', 'neck', 'decode_head', 'auxiliary_head'):
        part = getattr(model, name, None)
        yield from part if isinstance(part, nn.ModuleList) else () if part is None else (part, )


def compile_parts(model: nn.Module, setting: bool | dict) -> int:
    """Compile the parts of a model in place; parameters keep their names.

    Args:
        model: As the runner has it, wrapped or not.
        setting: The key ``compile`` of a config: True, or arguments of :func:`torch.compile`.

    Returns:
        Number of parts. Compilation happens when they are first called; where it fails, the part goes on uncompiled,
        and the log says so once.

    Raises:
        ValueError: ``setting`` is neither a bool nor a dict, or holds what :func:`torch.compile` does not know.
    """
    if not isinstance(setting, (bool, dict)):
        raise ValueError(f'compile must be True, False or a dict of arguments of torch.compile, got {setting!r}')
    if setting is False:
        return 0
    # with other random numbers a compiled run would not be the same run
    options = dict(options=dict(fallback_random=True)) if setting is True else dict(setting)
    # what is cached in the backbones follows from its arguments
    warnings.filterwarnings('ignore', 'Dynamo detected a call to a `functools.lru_cache`')
    failed: list[str] = []
    parts = list(parts_to_compile(model))
    for part in parts:
        part.forward = _or_eager(part.forward, type(part).__name__, options, failed)
    return len(parts)


def _or_eager(forward: Callable, name: str, options: dict, failed: list[str]) -> Callable:
    """``forward`` compiled, or as it is from the first failure of any part on."""
    try:
        compiled = torch.compile(forward, **options)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f'compile={options}: {" ".join(str(error).split())[:300]}') from error

    def call(*args, **kwargs):
        if not failed:
            try:
                return compiled(*args, **kwargs)
            except (TorchDynamoException, ImportError) as error:  # inductor imports what a GPU needs when it is used
                failed.append(name)
                reason = ' '.join(str(error).split())[:200] or type(error).__name__
                print_log(f'compile: torch.compile failed for {name} ({reason}); training goes on without it, at the '
                          'usual speed. Leave compile out to be rid of this line', 'current', logging.WARNING)
        return forward(*args, **kwargs)

    return call
