"""Cells of labelled tiles: where windows lie, the label of a cell, the features at it. Pure functions of tensors."""
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ['CELL', 'IGNORE', 'labelled_windows', 'majority_labels', 'values_at', 'window_batches',
           'window_starts']

CELL = 4  # side of a cell, px: what a pixel of the finest feature maps stands for
IGNORE = 255


def window_starts(length: int, crop: int) -> list[int]:
    """First pixel of each window along one side; the last window is shifted back to the border."""
    if length <= crop:
        return [0]
    return list(range(0, length - crop, crop)) + [length - crop]


def window_batches(image: Tensor, crop: int, batch: int = 32) -> Iterator[Tensor]:
    """(1, C, H, W) -> batches (b, C, h, w) of windows of ``crop`` px that cover it; h <= crop where it is smaller."""
    height, width = image.shape[-2:]
    cut = [image[0, :, y:y + crop, x:x + crop] for y in window_starts(height, crop)
           for x in window_starts(width, crop)]
    for first in range(0, len(cut), batch):
        yield torch.stack(cut[first:first + batch])


def labelled_windows(labels: Tensor, window: int) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Windows of a tile that hold each labelled pixel once.

    Args:
        labels: (H, W).
        window: Side of the windows, px; along an axis that is shorter, they are as long as it is.

    Yields:
        Rows and columns of a window, and its labels, :data:`IGNORE` where a window before it holds them.
    """
    seen_rows = 0
    for top in window_starts(labels.shape[0], window):
        seen_columns = 0
        for left in window_starts(labels.shape[1], window):
            place = slice(top, top + window), slice(left, left + window)
            own = labels[place].clone()
            own[:seen_rows - top], own[:, :seen_columns - left] = IGNORE, IGNORE
            yield place, own
            seen_columns = left + window
        seen_rows = top + window


def majority_labels(labels: Tensor, num_classes: int, cell: int = CELL, ignore_index: int = IGNORE,
                    ignored_vote: bool = True) -> Tensor:
    """The most frequent label of each cell of ``cell`` x ``cell`` pixels.

    Ignored pixels vote as well, so a cell that is mostly ignored is ignored; a tie goes to the lowest
    class id, and to a class before "ignored".

    Args:
        labels: (B, H, W) uint8, class ids or ``ignore_index``; H and W multiples of ``cell``.
        num_classes: K.
        cell: Side of the cells in pixels.
        ignore_index: Label of pixels that do not count.
        ignored_vote: False: they do not, and one labelled pixel labels its cell, as sparse masks need it.

    Returns:
        (B, H / cell, W / cell) int64, class ids or ``ignore_index``.
    """
    batch, height, width = labels.shape
    values = labels.long()
    values = torch.where(values == ignore_index, num_classes, values)
    cells = values.reshape(batch, height // cell, cell, width // cell, cell).transpose(2, 3).flatten(3)
    votes = torch.zeros(cells.shape[:3] + (num_classes + 1,), dtype=torch.int16, device=labels.device)
    votes.scatter_add_(3, cells, torch.ones_like(cells, dtype=torch.int16))
    if not ignored_vote:
        votes[..., num_classes] = votes[..., :num_classes].sum(3) == 0
    winner = votes.argmax(3)
    return torch.where(winner == num_classes, ignore_index, winner)


def values_at(feature: Tensor, size: Sequence[int], batch: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Values of a map upsampled bilinearly, at some places only: few cells are sampled, so this is cheap.

    Args:
        feature: (B, C, h, w).
        size: (H, W) after upsampling.
        batch: (n,) int64 image numbers.
        row: (n,) int64 rows in the upsampled map.
        column: (n,) int64 columns in it.

    Returns:
        (n, C): ``F.interpolate(feature, size, mode='bilinear', align_corners=False)[batch, :, row, column]``.
    """
    feature = feature.permute(0, 2, 3, 1)

    def neighbours(place: Tensor, target: int, source: int) -> tuple[Tensor, Tensor, Tensor]:
        position = ((place + 0.5) * (source / target) - 0.5).clamp_min(0)
        first = position.long()
        return first, (first + 1).clamp_max(source - 1), (position - first)[:, None].to(feature.dtype)

    top, bottom, down = neighbours(row, size[0], feature.shape[1])
    left, right, across = neighbours(column, size[1], feature.shape[2])
    upper = torch.lerp(feature[batch, top, left], feature[batch, top, right], across)
    lower = torch.lerp(feature[batch, bottom, left], feature[batch, bottom, right], across)
    return torch.lerp(upper, lower, down)
