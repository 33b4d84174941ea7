"""How strong the edges between the tokens of a map are. Pure functions of tensors."""
import torch
from torch import Tensor

__all__ = ['corner_maximum', 'pair', 'path_maximum', 'straight_offsets']

_STEP = 2  # px between two looks at a path, each of which sees 2 x 2 px


def straight_offsets(radius: int) -> list[tuple[int, int]]:
    """(down, right) of one token of every pair on a row, a column or a diagonal, at most ``radius`` tokens away."""
    return [(down * far, right * far) for far in range(1, radius + 1)
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))]


def corner_maximum(values: Tensor) -> Tensor:
    """Largest of the four pixels around every inner corner.

    Args:
        values: (B, 1, H, W) float.

    Returns:
        (B, 1, H - 1, W - 1): corner i of a row lies between the pixels i and i + 1.
    """
    across = torch.maximum(values[..., :-1], values[..., 1:])
    return torch.maximum(across[..., :-1, :], across[..., 1:, :])


def path_maximum(corners: Tensor, stride: int, offset: tuple[int, int]) -> Tensor:
    """Largest value on the straight line between the centres of two tokens.

    Centres lie on corners of pixels, and so do the places on the line that are looked at, 2 px apart: all pixels that
    the line touches count. Turning or mirroring values and offset gives the turned or mirrored result.

    Args:
        corners: (B, 1, H - 1, W - 1) of :func:`corner_maximum`, H and W divisible by ``stride``.
        stride: Side of a token, px, even.
        offset: (down, right) from the first to the second token of a pair, tokens, on a row, a column or a diagonal;
            down >= 0.

    Returns:
        (B, h - down, w - |right|): of the pairs whose tokens are both on the map, by the places of the tokens that are
        first, see :func:`pair`.
    """
    down, right = offset
    far = max(down, abs(right))
    rows, columns = (corners.shape[-2] + 1) // stride - down, (corners.shape[-1] + 1) // stride - abs(right)
    top, left = stride // 2 - 1, stride // 2 - 1 + max(0, -right) * stride
    result = None
    for step in range(0, far * stride + 1, _STEP):
        y, x = top + step * down // far, left + step * right // far
        seen = corners[:, 0, y:y + (rows - 1) * stride + 1:stride, x:x + (columns - 1) * stride + 1:stride]
        result = seen if result is None else torch.maximum(result, seen)
    return result


def pair(values: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Both tokens of every pair: (..., h, w) -> two views (..., h - down, w - |right|).

    Args:
        values: A map of tokens.
        offset: (down, right) from the first to the second, tokens; down >= 0.
    """
    down, right = offset
    height, width = values.shape[-2:]
    first = values[..., :height - down, max(0, -right):width - max(0, right)]
    second = values[..., down:, max(0, right):width - max(0, -right)]
    return first, second
