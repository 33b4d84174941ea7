"""Class maps of images of any height from overlapping windows, finished row by row."""
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .windows import blend_weights, window_side, window_starts

__all__ = ['NODATA', 'Grid', 'ReadRows', 'Strip', 'blended_strips', 'in_background', 'most_probable']

NODATA = 255
# (top, height) -> pixels (height, W, bands) uint8, valid (height, W) bool. Rows are asked for once, from top to bottom.
ReadRows = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Strip:
    """Finished rows of a map.

    Args:
        top: First row.
        classes: (rows, W) uint8, :data:`NODATA` where the image has none.
        probabilities: (K, rows, W) float32, adding up to 1 over the classes; 0 without data.
    """

    top: int
    classes: np.ndarray
    probabilities: torch.Tensor | None


class Grid:
    """The windows of an image: ``height`` and ``width`` of one, ``tops`` and ``lefts`` of all, px."""

    def __init__(self, image_height: int, image_width: int, window: int, overlap: float) -> None:
        self.image_height, self.image_width, self.overlap = image_height, image_width, overlap
        self.height, self.width = window_side(image_height, window), window_side(image_width, window)
        self.tops = window_starts(image_height, self.height, overlap)
        self.lefts = window_starts(image_width, self.width, overlap)

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def lead(self, row: int) -> int:
        """How many rows of windows before ``row`` reach into its pixels."""
        return sum(top + self.height > self.tops[row] for top in self.tops[:row])


def in_background(items: Iterator, depth: int) -> Iterator:
    """The same items, made by another thread up to ``depth`` ahead; its errors are raised here."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, items, end))
            yield item


def _window_rows(read: ReadRows, grid: Grid, rows: range) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pixels and validity of each row of windows; each row of the image is read once."""
    pixels = valid = None
    done = grid.tops[rows.start]
    for top in grid.tops[rows.start:rows.stop]:
        fresh, fresh_valid = read(done, min(top + grid.height, grid.image_height) - done)
        kept = done - top  # rows that the row of windows before has read
        pixels = np.concatenate([pixels[-kept:], fresh]) if kept else fresh
        valid = np.concatenate([valid[-kept:], fresh_valid]) if kept else fresh_valid
        done = top + len(pixels)
        yield pixels, valid


def _batches(read: ReadRows, grid: Grid, rows: range,
             size: int) -> Iterator[tuple[list, list, np.ndarray | None]]:
    """(windows that have data, for each window of the batch whether it has, validity of a row that ends in it)."""
    images, used = [], []
    below, beside = (max(0, side - length) for side, length in (
        (grid.height, grid.image_height), (grid.width, grid.image_width)))
    for pixels, valid in _window_rows(read, grid, rows):
        # an image smaller than a window is filled up with its mirror image
        pixels = np.pad(pixels, ((0, below), (0, beside), (0, 0)), 'symmetric') if below or beside else pixels
        for left in grid.lefts:
            used.append(bool(valid[:, left:left + grid.width].any()))
            if used[-1]:
                images.append(np.ascontiguousarray(pixels[:, left:left + grid.width]))
            last = left == grid.lefts[-1]
            if last or len(images) == size:
                yield images, used, valid if last else None
                images, used = [], []


def blended_strips(scores: Callable[[list[np.ndarray]], torch.Tensor], num_classes: int, read: ReadRows, grid: Grid,
                   batch: int = 8, probabilities: bool = False, device: Any = 'cpu',
                   on_windows: Callable[[int], Any] | None = None, rows: range | None = None) -> Iterator[Strip]:
    """Predict an image row of windows by row of windows.

    What is held: the pixels of one row of windows, the class scores of one window, and those of the rows that two rows
    of windows share: none of it grows with the height of the image. The most probable class of the weighted mean of
    the windows' probabilities is taken. Windows without valid pixels are not computed.

    Args:
        scores: n windows (h, w, bands) uint8 -> (n, K, h, w) float32 probabilities on ``device``.
        num_classes: K.
        read: Called from another thread, one call at a time.
        grid: The windows.
        batch: Windows given to ``scores`` at once, at most.
        probabilities: Whether the strips hold them.
        device: Where is blended.
        on_windows: Called with the number of windows that were finished.
        rows: Rows of windows whose strips are wanted, step 1; None: all. Those before them that overlap them are
            computed too: the strips are the same, to the bit, as without ``rows``.

    Yields:
        From top to bottom.
    """
    h, w, width = grid.height, grid.width, grid.image_width
    rows = range(len(grid.tops)) if rows is None else rows
    computed = range(rows.start - grid.lead(rows.start), rows.stop)
    weight = torch.from_numpy(np.outer(blend_weights(h, grid.overlap), blend_weights(w, grid.overlap))).to(device)
    shared = max((top + h - below for top, below in zip(grid.tops, grid.tops[1:])), default=0)
    # scores and weights (the last channel) of the rows that the next row of windows covers too
    carry = torch.zeros(num_classes + 1, shared, max(width, w), device=device)
    block = torch.zeros(num_classes + 1, h, w, device=device)  # those of the window at hand
    row, column = computed.start, 0
    above = 0  # rows of ``carry`` that hold something
    classes, kept = None, None
    with closing(in_background(_batches(read, grid, computed, batch), 2)) as batches:
        for images, used, valid in batches:
            probabilities_of = iter(scores(images)) if images else iter(())
            for has_data in used:
                top, left = grid.tops[row], grid.lefts[column]
                below = grid.tops[row + 1] if row + 1 < len(grid.tops) else top + h
                right = grid.lefts[column + 1] if column + 1 < len(grid.lefts) else left + w
                ready, across = below - top, right - left
                if column == 0:
                    classes = torch.empty(min(ready, grid.image_height - top), width, dtype=torch.uint8, device=device)
                    kept = torch.empty(num_classes, *classes.shape) if probabilities else None
                if has_data:
                    block[:-1].addcmul_(next(probabilities_of), weight)
                    block[-1] += weight
                done = block[:, :, :across]
                done[:, :above] += carry[:, :above, left:right]
                carry[:, :h - ready, left:right] = done[:, ready:]
                if row in rows:
                    _finish(done[:, :ready], classes, kept, left)
                # the columns that the next window covers too move to its place
                beside = block[:, :, across:].clone()
                block[:, :, :w - across] = beside
                block[:, :, w - across:] = 0
                column += 1
            if on_windows:
                on_windows(len(used))
            if column == len(grid.lefts):
                if row in rows:
                    yield _strip(top, classes, kept, valid)
                row, column, above = row + 1, 0, h - ready


def most_probable(scores: torch.Tensor) -> torch.Tensor:
    """(K, H, W) -> (H, W) uint8: the class with the highest score, of equal ones the first.

    A CPU needs a tenth of the time of ``argmax(0)``, which goes from plane to plane for every pixel.
    """
    best, classes = scores[0].clone(), torch.zeros(scores.shape[1:], dtype=torch.uint8, device=scores.device)
    for number in range(1, len(scores)):
        classes.masked_fill_(scores[number] > best, number)
        torch.maximum(best, scores[number], out=best)
    return classes


def _finish(done: torch.Tensor, classes: torch.Tensor, kept: torch.Tensor | None, left: int) -> None:
    done = done[:, :len(classes), :classes.shape[1] - left]
    classes[:, left:left + done.shape[2]] = most_probable(done[:-1])
    if kept is not None:
        kept[:, :, left:left + done.shape[2]] = (done[:-1] / done[-1].clamp(min=torch.finfo(done.dtype).tiny)).cpu()


def _strip(top: int, classes: torch.Tensor, kept: torch.Tensor | None, valid: np.ndarray) -> Strip:
    empty = ~valid[:len(classes)]
    numbers = classes.cpu().numpy()
    numbers[empty] = NODATA
    if kept is not None:
        kept[:, torch.from_numpy(empty)] = 0
    return Strip(top, numbers, kept)
