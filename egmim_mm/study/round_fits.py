"""Read-outs of many sets of labelled tiles, from features that are computed once for all of them."""
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from egmim_mm.analysis.readouts import classifier_settings, readout_model, training_precision
from egmim_mm.checkpoints.lineage import describe_source
from egmim_mm.datasets.plain_tiles import without_augmentation
from egmim_mm.engine.readout_fitting import (
    FittedReadout,
    LabelledDataset,
    check_classes,
    count_cells,
    draw_cells,
    fit_groups,
    groups_of,
)
from egmim_mm.inference.frozen_backbone import SCRATCH
from egmim_mm.precision import exact_float32
from egmim_mm.readout import balanced_shares
from egmim_mm.records.provenance import plain, write_json
from egmim_mm.registry import DATASETS

from .model_uncertainty import entropy

__all__ = ['Fit', 'RoundFits']

UNSURE = 2000  # cells of a tile, whose mean entropy is that of the tile to a hundredth
SCORED = 100_000  # cells of all test images: the mIoU of one in ten to twenty is that of all to a few tenths of a point


class Fit(NamedTuple):
    """Of a read-out: how unsure it is of each of the N training tiles, (N, ) in [0, 1]; and the counts of the cells of
    each of the M test images, (M, K, K), rows are the truth."""

    uncertainty: np.ndarray
    confusion: np.ndarray


class Unlabelled(LabelledDataset):
    """Whole tiles whose labels do not count: class 0 everywhere, so that cells are drawn from all of it."""

    def load(self, number: int) -> tuple[np.ndarray, Tensor]:
        image, labels = super().load(number)
        return image, torch.zeros_like(labels)


class RoundFits:
    """Fits read-outs as a training does, and judges them by cells of 4 x 4 px.

    Args:
        cfg: Config of a read-out; its test images are those that are judged by.
        source: Checkpoint or work dir of the backbone; ``'scratch'``: random weights.
        data: The training tiles.
        first: The smallest sets of labelled tiles: every other one holds one of them.
        seed: Of the cells, and of random weights.
        device: Where to compute.

    Raises:
        ValueError: When something is fitted: the labels of a first set hold fewer than two classes.
    """

    def __init__(self, cfg: Config, source: str, data: Any, first: Sequence[Sequence[int]], seed: int,
                 device: str) -> None:
        self.cfg, self.source, self.data, self.names, self.first = cfg, source, data, data.tile_names, first
        self.seed, self.device, self.window = seed, device, cfg.train_cfg.get('window', 1024)
        self.settings = json.loads(json.dumps(plain(dict(
            tiles=self.names, seed=seed, weights=None if source == SCRATCH else describe_source(source)['sha256'],
            test=cfg.test_dataloader.dataset, model=cfg.model, loop=cfg.train_cfg))))

    def fit(self, members: Sequence[int], path: Path) -> Fit:
        """The read-out of these tiles; what it gives is kept in a JSON file, and taken from it if it is there.

        Raises:
            ValueError: The file is of other settings or tiles.
        """
        settings = dict(self.settings, labelled=[self.names[member] for member in members])
        if path.is_file():
            saved = json.loads(path.read_text())
            if saved['settings'] != settings:
                other = next(key for key in settings if saved['settings'].get(key) != settings[key])
                raise ValueError(f'{path} is of other settings ({other}): give another --out')
            return Fit(np.array(saved['uncertainty']), np.array(saved['confusion']))
        fitted = self._fitted(members)
        head = self.model.decode_head
        head.set_classifiers(fitted.classifiers, fitted.seen)
        fit = Fit(np.array([float(entropy(self._probabilities(maps)).mean()) for maps in self.whole_cells]),
                  np.stack([self._confusion(cells) for cells in self.test_cells]))
        write_json(path, dict(settings=settings, **fit._asdict()))
        return fit

    def _fitted(self, members: Sequence[int]) -> FittedReadout:
        cells = [self.labelled_cells[member] for member in members]
        with training_precision(self.cfg, self.device)():
            return fit_groups(cells, balanced_shares(self.counts[members], self.cfg.train_cfg.cells),
                              groups_of(self.model.decode_head), classifier_settings(self.cfg))

    @torch.inference_mode()
    def _probabilities(self, maps: Sequence[Tensor]) -> Tensor:
        """(K, n) from the features (n, C_i) of each map, as the head computes them for a whole image."""
        head = self.model.decode_head
        with exact_float32(maps[0].device):
            return torch.stack([classifier(torch.cat([maps[number] for number in group], 1)).softmax(1)
                                for group, classifier in zip(groups_of(head), head.classifiers)]).mean(0).T

    def _confusion(self, cells: Sequence[Sequence[Tensor]]) -> np.ndarray:
        classes = len(cells)
        return np.stack([self._probabilities(maps).argmax(0).bincount(minlength=classes).cpu().numpy()
                         if len(maps) and len(maps[0]) else np.zeros(classes, np.int64) for maps in cells])

    @cached_property
    def model(self) -> torch.nn.Module:
        with DefaultScope.overwrite_default_scope(self.cfg.get('default_scope') or 'mmseg'):
            return readout_model(self.cfg, self.source, self.seed, self.device)

    @cached_property
    def counts(self) -> np.ndarray:
        """(N, K) labelled cells of the training tiles."""
        return count_cells(self._tiles(LabelledDataset), self.model.decode_head.num_classes, self.window)

    @cached_property
    def labelled_cells(self) -> list:
        for tiles in self.first:
            check_classes(self.counts[tiles], [self.names[tile] for tile in tiles])
        # more tiles have as many classes or more, and of each as many cells are taken or fewer
        fewest = min(int((self.counts[tiles].sum(0) > 0).sum()) for tiles in self.first)
        return self._drawn(self._tiles(LabelledDataset), np.minimum(self.counts, self.cfg.train_cfg.cells // fewest))

    @cached_property
    def whole_cells(self) -> list[list[Tensor]]:
        """Of each training tile the features (n, C_i) of each map, at random cells."""
        wanted = np.zeros_like(self.counts)
        wanted[:, 0] = UNSURE
        return [cells[0] for cells in self._drawn(self._tiles(Unlabelled), wanted)]

    @cached_property
    def test_cells(self) -> list:
        with DefaultScope.overwrite_default_scope(self.cfg.get('default_scope') or 'mmseg'):
            images = DATASETS.build(self.cfg.test_dataloader.dataset)
        tiles = LabelledDataset(without_augmentation(images), range(len(images)))
        counts = count_cells(tiles, self.model.decode_head.num_classes, self.window)
        share = min(1.0, SCORED / max(1, counts.sum()))
        return self._drawn(tiles, np.ceil(counts * share).astype(np.int64))

    def _tiles(self, kind: type[LabelledDataset]) -> LabelledDataset:
        return kind(without_augmentation(self.data), range(len(self.names)))

    def _drawn(self, tiles: LabelledDataset, wanted: np.ndarray) -> list:
        with training_precision(self.cfg, self.device)():
            return draw_cells(self.model, tiles, wanted, self.window, self.seed)
