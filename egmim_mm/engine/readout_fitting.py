"""Fitting linear read-outs of a frozen backbone to class-balanced cells of whole labelled tiles."""
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import Dataset

from egmim_mm.models import ReadoutHead
from egmim_mm.precision import exact_float32
from egmim_mm.readout import (
    balanced_shares,
    channel_statistics,
    draw_places,
    fit_discriminant,
    fit_logistic,
    labelled_windows,
    majority_labels,
    tile_generator,
    values_at,
)
from egmim_mm.readout.cells import CELL, IGNORE

__all__ = ['CLASSIFIERS', 'FittedReadout', 'LabelledDataset', 'fit_readout']


class Classifier(NamedTuple):
    """The function that fits it, and the name of its setting, a number above 0 and at most ``most``."""

    fit: Callable[..., tuple[Tensor, Tensor]]
    setting: str
    most: float


CLASSIFIERS = dict(logistic=Classifier(fit_logistic, 'l2', float('inf')),
                   discriminant=Classifier(fit_discriminant, 'shrinkage', 1.0))


class FittedReadout(NamedTuple):
    """Weight (S, D) and bias (S, ) of each group, for the S classes that were ``seen``; ``losses``: mean cross-entropy
    of each on the cells it was fitted to; ``cells``: (K, ) number of these."""

    classifiers: list[tuple[Tensor, Tensor]]
    seen: list[int]
    losses: list[float]
    cells: np.ndarray


class LabelledDataset:
    """Some whole tiles of a data set whose pipeline only loads.

    Args:
        dataset: Of images ``img`` (H, W, C) and labels ``gt_seg_map`` (H, W).
        members: Indices of the tiles.
    """

    def __init__(self, dataset: Dataset, members: Sequence[int]) -> None:
        self.dataset, self.members = dataset, list(members)

    @property
    def names(self) -> list[str]:
        samples = [self.dataset.get_data_info(member) for member in self.members]
        return [sample.get('tile_name') or sample['img_path'] for sample in samples]

    def load(self, number: int) -> tuple[np.ndarray, Tensor]:
        """Image (H, W, C) and labels (H, W) of one of the tiles."""
        sample = self.dataset[self.members[number]]
        return sample['img'], torch.from_numpy(np.array(sample['gt_seg_map'], np.uint8))


def fit_readout(model: nn.Module, tiles: LabelledDataset, cells: int, classifiers: Sequence[Mapping[str, Any]],
                window: int, seed: int) -> FittedReadout:
    """Fit one classifier for each group of the model's :class:`~egmim_mm.models.ReadoutHead`.

    The tiles are read twice: labels are counted, then features are computed where cells are drawn. Cells depend on the
    tiles, their labels and the seed alone, so that they are the same for every backbone.

    Args:
        model: Segmentor of MMSegmentation in eval mode; it stays as it is.
        tiles: The labelled tiles.
        cells: Most cells of 4 x 4 px, as many of each class.
        classifiers: Of each group ``type``, one of :data:`CLASSIFIERS`, and settings of it.
        window: Side of what is computed at once, px.
        seed: Of the cells.

    Raises:
        ValueError: Tiles with different numbers of bands, or labels of fewer than two classes.
    """
    head: ReadoutHead = model.decode_head
    names = tiles.names
    bands, counts = zip(*(_count(*tiles.load(number), head.num_classes, window)
                          for number in track(range(len(names)), 'labels', transient=True)))
    other = next((number for number in range(len(names)) if bands[number] != bands[0]), None)
    if other is not None:
        raise ValueError(f'{names[other]} has {bands[other]} bands and {names[0]} has {bands[0]}: a model takes one '
                         'number of bands')
    counts = np.stack(counts)
    seen = np.flatnonzero(counts.sum(0)).tolist()
    if len(seen) < 2:
        raise ValueError(f'the labels of {", ".join(names[:5])} hold {"one class" if seen else "no labelled pixel"}: a '
                         'read-out learns from two classes or more; label other tiles, or give a larger budget')
    shares = balanced_shares(counts, cells)
    drawn = [_draw(model, *tiles.load(number), shares[number], window, tile_generator(seed, names[number]))
             for number in track(range(len(names)), 'features', transient=True) if shares[number].any()]
    labels = torch.cat([own for _, own in drawn])
    joined = [torch.cat(parts) for parts in zip(*(features for features, _ in drawn))]
    place = torch.full((head.num_classes, ), -1)
    place[seen] = torch.arange(len(seen))
    targets = place[labels].to(joined[0].device)
    with exact_float32(targets.device):
        fitted = [_fit(features, targets, len(seen), **settings)
                  for features, settings in zip(joined, classifiers, strict=True)]
    return FittedReadout([classifier for classifier, _ in fitted], seen, [loss for _, loss in fitted], shares.sum(0))


def _count(image: np.ndarray, labels: Tensor, classes: int, window: int) -> tuple[int, np.ndarray]:
    """Number of bands, and (K, ) labelled cells of each class, of one tile."""
    flat = torch.cat([own.flatten() for _, own in _cells(labels, classes, window)])
    return image.shape[2], torch.bincount(flat[flat < classes], minlength=classes).numpy()


def _cells(labels: Tensor, classes: int, window: int) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Windows of a tile, and (h, w) labels of their cells; the last ones may reach beyond the tile."""
    for place, own in labelled_windows(labels, window):
        own = F.pad(own, (0, -own.shape[1] % CELL, 0, -own.shape[0] % CELL), value=IGNORE)
        yield place, majority_labels(own[None], classes)[0]


@torch.no_grad()  # not inference_mode: autograd refuses its tensors when the classifiers are fitted
def _draw(model: nn.Module, image: np.ndarray, labels: Tensor, wanted: np.ndarray, window: int,
          generator: np.random.Generator) -> tuple[list[Tensor], Tensor]:
    """Features (n, D) of each group, and (n, ) labels, of random cells of one tile."""
    windows = list(_cells(labels, len(wanted), window))
    flat = torch.cat([own.flatten() for _, own in windows])
    chosen = torch.from_numpy(np.sort(np.concatenate(draw_places(flat.numpy(), wanted, generator))))
    inputs = _normalised(model, image)
    parts, start = [], 0
    for (rows, columns), own in windows:
        here = chosen[(chosen >= start) & (chosen < start + own.numel())] - start
        start += own.numel()
        if not len(here):
            continue
        maps = model.extract_feat(inputs[:, :, rows, columns])
        row, column = (at.to(inputs.device) for at in torch.unravel_index(here, own.shape))
        maps = [maps[number].float() for number in model.decode_head.in_index]
        values = [values_at(one, own.shape, torch.zeros_like(row), row, column) for one in maps]
        parts.append([torch.cat([values[place] for place in group], 1) for group in model.decode_head.groups])
    return [torch.cat(group) for group in zip(*parts)], flat[chosen]


def _normalised(model: nn.Module, image: np.ndarray) -> Tensor:
    """(1, C, H, W) float32 on the device of the model."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return model.data_preprocessor(dict(inputs=[pixels], data_samples=None), False)['inputs']


def _fit(features: Tensor, targets: Tensor, classes: int, type: str,
         **settings: float) -> tuple[tuple[Tensor, Tensor], float]:
    """Weight and bias for features as they come, and the mean cross-entropy."""
    mean, std = channel_statistics(features)
    standardised = (features - mean) / std
    weight, bias = CLASSIFIERS[type].fit(standardised, targets, classes, **settings)
    loss = F.cross_entropy(F.linear(standardised, weight, bias), targets)
    weight = weight / std
    return (weight, bias - weight @ mean), float(loss)
