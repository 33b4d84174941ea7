"""How strong the edges between the tokens of a map are. Pure functions of tensors."""
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ['pair', 'path_maximum', 'straight_offsets']

_STEP = 2  # px between two looks along a path, each of which sees 2 x 2 px


def straight_offsets(radius: int) -> list[tuple[int, int]]:
    """(down, right) of one token of every pair on a row, a column or a diagonal, at most ``radius`` tokens away."""
    return [(down * far, right * far) for far in range(1, radius + 1)
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))]


def path_maximum(values: Tensor, stride: int, offset: tuple[int, int]) -> Tensor:
    """Largest value on the straight line between the centres of two tokens.

    Centres lie on corners of pixels: at each of the places along the line, 2 px apart, the four pixels around the
    nearest corner count. Turning or mirroring values and offset gives the turned or mirrored result.

    Args:
        values: (B, 1, H, W), H and W divisible by ``stride``.
        stride: Side of a token, px, even.
        offset: (down, right) from the first to the second token of a pair, tokens; down >= 0.

    Returns:
        (B, 1, h - down, w - |right|): of the pairs whose tokens are both on the map, in the order of :func:`pair`.
    """
    down, right = offset
    # number i of a row of corners is the corner of pixels i and i + 1
    corners = F.max_pool2d(values, 2, stride=1)
    steps = max(down, abs(right)) * stride // _STEP
    rows, columns = values.shape[-2] // stride - down, values.shape[-1] // stride - abs(right)
    top, left = stride // 2 - 1, stride // 2 - 1 + max(0, -right) * stride
    result = None
    for step in range(steps + 1):
        y, x = top + round(down * stride * step / steps), left + round(right * stride * step / steps)
        seen = corners[..., y:y + (rows - 1) * stride + 1:stride, x:x + (columns - 1) * stride + 1:stride]
        result = seen if result is None else torch.maximum(result, seen)
    return result


def pair(values: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Both tokens of every pair: (B, C, h, w) -> two views (B, C, h - down, w - |right|).

    Args:
        values: A map of tokens.
        offset: (down, right) from the first to the second, tokens; down >= 0.
    """
    down, right = offset
    height, width = values.shape[-2:]
    first = values[..., :height - down, max(0, -right):width - max(0, right)]
    second = values[..., down:, max(0, right):width - max(0, -right)]
    return first, second
