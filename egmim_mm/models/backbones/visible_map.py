"""The map that the visible cells of an image make when they are moved together, and where its tokens really are.

A mask that keeps one cell of every 2 x 2 block leaves a map of half the side, which Swin encodes like any other, a
quarter of the tokens (the idea of UM-MAE, Li et al., 2022, arXiv:2205.10063). Each image has its own mask. What differs
from a smaller image is where tokens are: neighbours on the compact map may be up to two cells further apart on the
image. Position biases are looked up at these true offsets.
"""
import math

import torch
from torch import Tensor
from torch.nn import functional as F


class VisibleMap(tuple):
    """(height, width) of a compact map in tokens, as Swin's blocks expect it, that knows where its tokens are.

    Args:
        places: (B, 2, height, width) float32, row and column on the map of the whole image, in tokens of the stage.
    """

    def __new__(cls, places: Tensor) -> 'VisibleMap':
        self = super().__new__(cls, places.shape[-2:])
        self.places = places
        self._lookups = {}
        return self

    def merged(self) -> 'VisibleMap':
        """After patch merging: a token is where the four are that it was made of, on average."""
        places = _continued(self.places, self[0] % 2, self[1] % 2)  # patch merging pads
        return VisibleMap((F.avg_pool2d(places, 2) - 0.5) / 2)

    def window(self, largest: int) -> int:
        """Side of equal windows, tokens: as few as windows of ``largest`` tokens would be, with the least padding."""
        side = max(self)
        return math.ceil(side / math.ceil(side / largest))

    def lookup(self, window: int, shift: int, table: int) -> Tensor:
        """Which entry of a table of position biases belongs to each pair of tokens of a window.

        Offsets are rounded to whole tokens: after merging tokens of different cells they may lie between. Those
        beyond the table, which dense encoding never meets, take its outermost entry: all offsets that occur in
        fine-tuning keep entries of their own.

        Args:
            window: Side of the windows, tokens; the map is padded to a multiple.
            shift: How far the map is rolled up and left before it is cut, tokens.
            table: Side of the windows that the table is made for, tokens; it has (2 table - 1)^2 entries.

        Returns:
            (B, windows, window^4) int64, of each pair (query, key) of each window.
        """
        key = (window, shift, table)
        if key not in self._lookups:
            places = _continued(self.places, -self[0] % window, -self[1] % window)
            if shift:
                places = places.roll((-shift, -shift), (2, 3))
            batch, _, height, width = places.shape
            places = places.view(batch, 2, height // window, window, width // window, window).transpose(3, 4)
            places = places.reshape(batch, 2, -1, window**2)
            offsets = (places[..., None] - places[..., None, :]).round().clamp(1 - table, table - 1).long() + table - 1
            self._lookups[key] = (offsets[:, 0] * (2 * table - 1) + offsets[:, 1]).flatten(2)
        return self._lookups[key]


def kept_cells(mask: Tensor, side: int) -> Tensor:
    """Which cell of each 2 x 2 block a mask keeps.

    Args:
        mask: (B, h, w) bool, True = hidden tokens; cells are hidden as a whole.
        side: Side of a cell, tokens; h and w are multiples of 2 ``side``.

    Returns:
        (B, h / 2 side, w / 2 side) int64 in 0..3, in reading order; the first, where several are visible.
    """
    visible = ~mask[:, ::side, ::side]
    batch, rows, columns = visible.shape
    blocks = visible.view(batch, rows // 2, 2, columns // 2, 2).transpose(2, 3).flatten(3)
    return blocks.byte().argmax(-1)


def cell_places(kept: Tensor) -> Tensor:
    """(B, r, c) of :func:`kept_cells` -> (B, 2, r, c) int64, row and column of the kept cells among all cells."""
    rows = 2 * torch.arange(kept.shape[1], device=kept.device)[:, None] + kept // 2
    return torch.stack([rows, 2 * torch.arange(kept.shape[2], device=kept.device) + kept % 2], 1)


def gather_cells(images: Tensor, places: Tensor, cell: int) -> Tensor:
    """Put cells of images together.

    Args:
        images: (B, C, H, W); H and W are multiples of ``cell``.
        places: (B, 2, r, c) int64, row and column of the cells to take, among the cells of the image.
        cell: Side of a cell, px.

    Returns:
        (B, C, r cell, c cell).
    """
    (batch, channels, height, width), (rows, columns) = images.shape, places.shape[-2:]
    cells = images.view(batch, channels, height // cell, cell, width // cell, cell).permute(0, 2, 4, 1, 3, 5)
    index = (places[:, 0] * (width // cell) + places[:, 1]).view(batch, -1, 1)
    taken = cells.reshape(batch, -1, channels * cell**2).gather(1, index.expand(-1, -1, channels * cell**2))
    taken = taken.view(batch, rows, columns, channels, cell, cell).permute(0, 3, 1, 4, 2, 5)
    return taken.reshape(batch, channels, rows * cell, columns * cell)


def token_places(places: Tensor, side: int) -> VisibleMap:
    """The map of the tokens of cells: (B, 2, r, c) places of cells of ``side`` x ``side`` tokens."""
    inner = torch.arange(side, device=places.device, dtype=torch.float32)
    rows = places[:, 0, :, None, :, None] * side + inner[:, None, None]
    columns = places[:, 1, :, None, :, None] * side + inner
    batch, _, height, width = places.shape
    tokens = torch.stack(torch.broadcast_tensors(rows, columns), 1)
    return VisibleMap(tokens.reshape(batch, 2, height * side, width * side))


def _continued(places: Tensor, bottom: int, right: int) -> Tensor:
    """Places (B, 2, h, w) with rows and columns added, each a token further than the one before."""
    if not bottom and not right:
        return places
    height, width = places.shape[-2:]
    places = F.pad(places, (0, right, 0, bottom), mode='replicate')
    beyond = [(torch.arange(n + added, device=places.device) - (n - 1)).clamp(min=0)
              for n, added in ((height, bottom), (width, right))]
    return places + torch.stack(torch.meshgrid(*beyond, indexing='ij'))
