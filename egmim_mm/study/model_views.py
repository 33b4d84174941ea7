"""What a trained model makes of an image to label: how unsure it is where, and its features."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from egmim_mm.inference import Segmenter
from egmim_mm.inference.blending import Grid, blended_strips
from egmim_mm.models import MeanTeacherSegmentor
from egmim_mm.storage.raster_rows import RasterRows

from .model_uncertainty import disagreement, entropy

__all__ = ['ModelViews', 'Place', 'View', 'places_of']

CELL = 32  # px: what a position of the coarsest features stands for
OVERLAP = 0.25  # of the windows that the model sees


class View(NamedTuple):
    """Of an image: (H, W) entropy in [0, 1]; (H, W) bool where teacher and student differ, None without a student;
    (H, W) bool pixels with data; (D, ceil(H / 32), ceil(W / 32)) features."""

    entropy: np.ndarray
    differs: np.ndarray | None
    valid: np.ndarray
    features: np.ndarray

    def summary(self) -> np.ndarray:
        """(D, ) mean features."""
        return self.features.mean(axis=(1, 2))


class Place(NamedTuple):
    """A part of an image that may be labelled: x and y of its upper left corner, px; mean entropy and share of the
    pixels that differ (None without a student), over those with data; (D, ) mean features."""

    x: int
    y: int
    uncertainty: float
    disagreement: float | None
    features: np.ndarray


class ModelViews:
    """The model of a checkpoint, of a second stage teacher and student, and what they make of images.

    Args:
        config: Segmentation config.
        checkpoint: Checkpoint, work dir or address.
        device: None: a GPU if there is one.
    """

    def __init__(self, config: Config, checkpoint: str, device: str | None = None) -> None:
        self.model = Segmenter(config, checkpoint, device, cfg_options=_predicting(config, 'teacher'))
        student = _predicting(config, 'student')
        self.student = Segmenter(config, checkpoint, device, cfg_options=student) if student else None

    def view(self, path: str) -> View:
        """What they make of an image file.

        Raises:
            TileReadError: It cannot be read, or has other bands than the model.
        """
        with RasterRows(path, self.model.bands) as rows:
            image, valid = rows(0, rows.height)
        grid = Grid(*valid.shape, self.model.window, OVERLAP)
        pools: list[Tensor] = []
        hook = self.model.model.backbone.register_forward_hook(lambda module, inputs, maps: pools.append(_pooled(maps)))
        try:
            found = _probabilities(self.model, image, grid)
        finally:
            hook.remove()
        differs = None
        if self.student is not None:
            differs = disagreement(found, _probabilities(self.student, image, grid)).numpy()
        return View(entropy(found).numpy(), differs, valid, _joined(pools, grid))


def _predicting(config: Config, which: str) -> dict[str, str] | None:
    kind = str(config.model.get('type')).rsplit('.', 1)[-1]
    return {'model.predict_with': which} if kind == MeanTeacherSegmentor.__name__ else None


def _probabilities(segmenter: Segmenter, image: np.ndarray, grid: Grid) -> Tensor:
    """(K, H, W) on the CPU."""
    everywhere = np.ones(image.shape[:2], bool)  # each window is computed, so that its features are known by its place
    strips = blended_strips(segmenter.probabilities, len(segmenter.classes),
                            lambda top, height: (image[top:top + height], everywhere[top:top + height]), grid, 1, True,
                            segmenter.device)
    return torch.cat([strip.probabilities for strip in strips], 1)


def _pooled(maps: Sequence[Tensor]) -> Tensor:
    """Maps (1, C_i, h_i, w_i) -> (D, h, w) of the coarsest."""
    return torch.cat([F.adaptive_avg_pool2d(one.float(), maps[-1].shape[2:]) for one in maps], 1)[0].cpu()


def _joined(pools: Sequence[Tensor], grid: Grid) -> np.ndarray:
    """Features of all windows, each at the nearest cells of the image, averaged where windows overlap."""
    rows, columns = (-(-side // CELL) for side in (max(grid.image_height, grid.height),
                                                   max(grid.image_width, grid.width)))
    total, number = torch.zeros(len(pools[0]), rows, columns), torch.zeros(rows, columns)
    places = [(top, left) for top in grid.tops for left in grid.lefts]
    for (top, left), pool in zip(places, pools, strict=True):
        row, column = (min(round(start / CELL), most - side) for start, most, side in zip(
            (top, left), (rows, columns), pool.shape[1:]))
        total[:, row:row + pool.shape[1], column:column + pool.shape[2]] += pool
        number[row:row + pool.shape[1], column:column + pool.shape[2]] += 1
    mean = total / number.clamp(min=1)
    return mean[:, :-(-grid.image_height // CELL), :-(-grid.image_width // CELL)].numpy()


def places_of(view: View, window: int | None) -> list[Place]:
    """Parts of an image that may be labelled: itself, or its windows of ``window`` px, a multiple of 32, side by side.

    Without a pixel of data there is none; windows need data in half of them.
    """
    height, width = view.valid.shape
    if window is None:
        return [_place(view, slice(height), slice(width), view.summary())] if view.valid.any() else []
    cells, found = window // CELL, []
    for top in range(0, height - window + 1, window):
        for left in range(0, width - window + 1, window):
            here = slice(top, top + window), slice(left, left + window)
            if view.valid[here].mean() >= 0.5:
                row, column = top // CELL, left // CELL
                features = view.features[:, row:row + cells, column:column + cells].mean(axis=(1, 2))
                found.append(_place(view, *here, features))
    return found


def _place(view: View, rows: slice, columns: slice, features: np.ndarray) -> Place:
    valid = view.valid[rows, columns]
    differs = None if view.differs is None else float(view.differs[rows, columns][valid].mean())
    return Place(columns.start or 0, rows.start or 0, float(view.entropy[rows, columns][valid].mean()), differs,
                 features)
