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
from egmim_mm.storage.sparse_masks import is_sparse

__all__ = ['CLASSIFIERS', 'FittedReadout', 'LabelledDataset', 'count_cells', 'draw_cells', 'fit_groups', 'fit_readout',
           'groups_of', 'normalised']

DrawnCells = list[list[Tensor]]  # of one tile: for each class the features (n, C_i) of each map


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
    counts = count_cells(tiles, head.num_classes, window)
    shares = balanced_shares(counts, cells)
    check_classes(counts, tiles.names)
    return fit_groups(draw_cells(model, tiles, shares, window, seed), shares, groups_of(head), classifiers)


def check_classes(counts: np.ndarray, names: Sequence[str]) -> None:
    """Raise a ValueError if the (n, K) labelled cells of tiles are of fewer than two classes."""
    if (counts.sum(0) > 0).sum() < 2:
        held = 'one class' if counts.any() else 'no labelled pixel'
        raise ValueError(f'the labels of {", ".join(names[:5])} hold {held}: a read-out learns from two classes '
                         'or more; label other tiles, or give a larger budget')


def count_cells(tiles: LabelledDataset, classes: int, window: int) -> np.ndarray:
    """(N, K) labelled cells of each class in each tile.

    Raises:
        ValueError: Tiles with different numbers of bands.
    """
    names = tiles.names
    bands, counts = zip(*(_count(*tiles.load(number), classes, window)
                          for number in track(range(len(names)), 'labels', transient=True)))
    other = next((number for number in range(len(names)) if bands[number] != bands[0]), None)
    if other is not None:
        raise ValueError(f'{names[other]} has {bands[other]} bands and {names[0]} has {bands[0]}: a model takes one '
                         'number of bands')
    return np.stack(counts)


def draw_cells(model: nn.Module, tiles: LabelledDataset, wanted: np.ndarray, window: int,
               seed: int) -> list[DrawnCells]:
    """Features of random cells of each tile, those of which fewer are wanted being the first of more.

    Args:
        model, tiles, window, seed: See :func:`fit_readout`.
        wanted: (N, K) cells of each class in each tile.

    Returns:
        For each tile and class the (n, C_i) features of each map that the model extracts.
    """
    names = tiles.names
    return [_draw(model, *tiles.load(number), wanted[number], window, tile_generator(seed, names[number]))
            if wanted[number].any() else [[]] * wanted.shape[1]
            for number in track(range(len(names)), 'features', transient=True)]


def fit_groups(drawn: Sequence[DrawnCells], shares: np.ndarray, groups: Sequence[Sequence[int]],
               classifiers: Sequence[Mapping[str, Any]]) -> FittedReadout:
    """Fit one classifier for each group of maps to cells that were drawn.

    Args:
        drawn: Of n tiles, by :func:`draw_cells`.
        shares: (n, K) cells that each gives, of two classes or more.
        groups: Numbers of the maps of each group.
        classifiers: See :func:`fit_readout`.
    """
    seen = np.flatnonzero(shares.sum(0)).tolist()
    taken = [(place, [values[:share] for values in maps]) for tile, own in zip(drawn, shares)
             for place, (maps, share) in enumerate(zip([tile[number] for number in seen], own[seen])) if share]
    maps = [torch.cat(values) for values in zip(*(values for _, values in taken))]
    targets = torch.tensor([place for place, _ in taken]).repeat_interleave(
        torch.tensor([len(values[0]) for _, values in taken])).to(maps[0].device)
    with exact_float32(targets.device):
        fitted = [_fit(torch.cat([maps[number] for number in group], 1), targets, len(seen), **settings)
                  for group, settings in zip(groups, classifiers, strict=True)]
    return FittedReadout([classifier for classifier, _ in fitted], seen, [loss for _, loss in fitted], shares.sum(0))


def groups_of(head: ReadoutHead) -> list[list[int]]:
    """Numbers of the maps of each group, as the backbone counts them."""
    return [[head.in_index[place] for place in group] for group in head.groups]


def _count(image: np.ndarray, labels: Tensor, classes: int, window: int) -> tuple[int, np.ndarray]:
    """Number of bands, and (K, ) labelled cells of each class, of one tile."""
    flat = torch.cat([own.flatten() for _, own in _cells(labels, classes, window)])
    return image.shape[2], torch.bincount(flat[flat < classes], minlength=classes).numpy()


def _cells(labels: Tensor, classes: int, window: int) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Windows of a tile, and (h, w) labels of their cells; the last ones may reach beyond the tile.

    In a sparse mask one labelled pixel labels its cell; elsewhere most pixels of a cell have to be of the class.
    """
    dense = not is_sparse(labels.numpy())
    for place, own in labelled_windows(labels, window):
        own = F.pad(own, (0, -own.shape[1] % CELL, 0, -own.shape[0] % CELL), value=IGNORE)
        yield place, majority_labels(own[None], classes, ignored_vote=dense)[0]


@torch.no_grad()  # not inference_mode: autograd refuses its tensors when the classifiers are fitted
def _draw(model: nn.Module, image: np.ndarray, labels: Tensor, wanted: np.ndarray, window: int,
          generator: np.random.Generator) -> DrawnCells:
    """Features of random cells of each class of one tile."""
    windows = list(_cells(labels, len(wanted), window))
    places = draw_places(torch.cat([own.flatten() for _, own in windows]).numpy(), wanted, generator)
    chosen = torch.from_numpy(np.concatenate(places))
    inputs = normalised(model, image)
    drawn: list[Tensor] = []
    start = 0
    for (rows, columns), own in windows:
        here = ((chosen >= start) & (chosen < start + own.numel())).nonzero()[:, 0]
        if len(here):
            row, column = (at.to(inputs.device) for at in torch.unravel_index(chosen[here] - start, own.shape))
            for number, one in enumerate(model.extract_feat(inputs[:, :, rows, columns])):
                if number == len(drawn):
                    drawn.append(one.new_empty(len(chosen), one.shape[1], dtype=torch.float32))
                drawn[number][here.to(one.device)] = values_at(one.float(), own.shape, torch.zeros_like(row), row,
                                                               column)
        start += own.numel()
    return [list(maps) for maps in zip(*(one.split([len(own) for own in places]) for one in drawn))]


def normalised(model: nn.Module, image: np.ndarray) -> Tensor:
    """(H, W, C) as loaded -> (1, C, H, W) float32 on the device of the model."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return model.data_preprocessor(dict(inputs=[pixels], data_samples=None), False)['inputs']


def _fit(features: Tensor, targets: Tensor, classes: int, type: str,
         **settings: float | bool) -> tuple[tuple[Tensor, Tensor], float]:
    """Weight and bias for features as they come, and the mean cross-entropy."""
    mean, std = channel_statistics(features)
    standardised = (features - mean) / std
    weight, bias = CLASSIFIERS[type].fit(standardised, targets, classes, **settings)
    loss = F.cross_entropy(F.linear(standardised, weight, bias), targets)
    weight = weight / std
    return (weight, bias - weight @ mean), float(loss)
