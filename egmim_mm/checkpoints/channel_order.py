"""Order of the input channels of patch merging: Microsoft's Swin and its descendants against mmcv.

Both put the four tokens of a 2 x 2 patch side by side. Microsoft concatenates them token by token, in the order
(row, column) = (0, 0), (1, 0), (0, 1), (1, 1), so channel c of token (row, column) stands at (2 column + row) C + c.
mmcv uses ``nn.Unfold``, which counts channel by channel: 4 c + 2 row + column.
"""
from torch import Tensor

_MERGING = '.downsample.'


def _swap(weight: Tensor, before: tuple[int, int, int]) -> Tensor:
    # (..., column, row, C) <-> (..., C, row, column): reversing the three axes goes either way
    lead = weight.shape[:-1]
    axes = range(weight.ndim - 1)
    split = weight.reshape(*lead, *before)
    last = len(lead)
    return split.permute(*axes, last + 2, last + 1, last).reshape(weight.shape).contiguous()


def from_official(weight: Tensor) -> Tensor:
    """(..., 4 C) in Microsoft's order -> the same in mmcv's order; for the reduction and the norm before it."""
    return _swap(weight, (2, 2, weight.shape[-1] // 4))


def to_official(weight: Tensor) -> Tensor:
    """Inverse of :func:`from_official`."""
    return _swap(weight, (weight.shape[-1] // 4, 2, 2))


def has_merged_channels(key: str, weight: Tensor, norm_before_reduction: bool) -> bool:
    """Whether the last axis of a weight holds the 4 C channels of a merged patch.

    Args:
        key: In the naming of our backbone.
        weight: Its value.
        norm_before_reduction: True for Swin, False for Swin V2, whose norm comes after the reduction.
    """
    merged = key.endswith('.reduction.weight') or (norm_before_reduction and '.norm.' in key)
    return _MERGING in key and merged and weight.ndim > 0 and weight.shape[-1] % 4 == 0
