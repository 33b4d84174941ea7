"""The read-out of a frozen backbone at a label budget: few labelled tiles, equal classes, several choices of tiles.

As :mod:`~egmim_mm.analysis.probe`, but the classifier is fitted to as many cells of each class, drawn from the labelled
tiles alone. Features of a tile are computed once for all choices that hold it, and one pass over the test tiles serves
all classifiers.
"""
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from egmim_mm.evaluation.confusion import segmentation_scores
from egmim_mm.readout.balanced_sample import draw_places, shares_of_groups, tile_generator
from egmim_mm.readout.cells import majority_labels, values_at
from egmim_mm.readout.linear import channel_statistics, fit_logistic

from .crops import crop_batches
from .probe import Classifier, feature_maps, score_classifiers

__all__ = ['probe_choices']

Labelled = tuple[np.ndarray, np.ndarray]  # image (H, W, C) uint8, labels (H, W) uint8


def probe_choices(backbone: nn.Module, choices: Mapping[str, Sequence[str]], read_tile: Callable[[str], Labelled],
                  test_set: Any, preprocess: Callable[[np.ndarray], Tensor], crop: int, classes: Sequence[str],
                  samples: int = 20_000, l2: float = 1e-3, batch_size: int = 32, seed: int = 0,
                  device: str | torch.device = 'cpu') -> dict[str, dict[str, Any]]:
    """Fit one linear classifier for each choice of labelled tiles, on all stages, and test them.

    Args:
        backbone: See :func:`~egmim_mm.analysis.probe.probe`.
        choices: Name of a choice -> names of its labelled tiles.
        read_tile: Name -> image and labels.
        test_set, preprocess, crop, classes, l2, batch_size, device: See :func:`~egmim_mm.analysis.probe.probe`.
        samples: Most cells of 4 x 4 px that a classifier is fitted to, ``samples // classes`` of each.
        seed: Of the cells; the same cells for every backbone.

    Returns:
        For each choice the scores of :func:`~egmim_mm.evaluation.segmentation_scores`, and ``confusion``.

    Raises:
        ValueError: The tiles of a choice have no labelled pixel.
    """
    backbone.to(device).eval()
    tiles = sorted({name for names in choices.values() for name in names})
    place, number = {name: index for index, name in enumerate(tiles)}, len(classes)
    batches = {name: lambda name=name: crop_batches([read_tile(name)], preprocess, crop, batch_size) for name in tiles}
    counts = np.stack([_class_cells(batches[name](), number) for name in tiles])
    rows = {choice: [place[name] for name in names] for choice, names in choices.items()}
    each, wanted = shares_of_groups(counts, list(rows.values()), samples)
    shares = dict(zip(rows, each))
    for choice in rows:
        if not shares[choice].any():
            raise ValueError(f'the labelled tiles of {choice} have no labelled pixel: {", ".join(choices[choice])}')
    drawn = [_draw(backbone, batches[name](), wanted[place[name]], tile_generator(seed, name), device)
             for name in tiles]
    classifiers = {choice: _fit([drawn[tile] for tile in own], shares[choice], l2) for choice, own in rows.items()}
    del drawn
    tested = score_classifiers(backbone, crop_batches(test_set, preprocess, crop, batch_size), classifiers, number,
                               device)
    return {choice: dict(segmentation_scores(count, classes), confusion=count.tolist())
            for choice, count in tested.items()}


def _class_cells(batches: Any, number: int) -> np.ndarray:
    """(K, ) int64: labelled cells of each class in a tile."""
    counts = np.zeros(number, np.int64)
    for _, targets in batches:
        cells = majority_labels(targets, number).numpy()
        counts += np.bincount(cells[cells < number], minlength=number)
    return counts


@torch.no_grad()  # not inference_mode: autograd refuses its tensors when the classifier is fitted
def _draw(backbone: nn.Module, batches: Any, wanted: np.ndarray, generator: np.random.Generator,
          device: str | torch.device) -> list[Tensor]:
    """Features of all stages, joined, at random cells of each class of one tile: K tensors (wanted[k], D)."""
    held = list(batches)
    if not held:
        return [torch.empty(0, 0, device=device) for _ in wanted]
    cells = torch.cat([majority_labels(targets, len(wanted)) for _, targets in held])  # (windows, h, w)
    places = draw_places(cells.numpy(), wanted, generator)
    chosen = torch.from_numpy(np.concatenate(places))
    window, row, column = torch.unravel_index(chosen, cells.shape)
    features, start = None, 0
    for images, _ in held:
        here = ((window >= start) & (window < start + len(images))).nonzero()[:, 0]
        if len(here):
            at = [index[here].to(device) for index in (window - start, row, column)]
            values = torch.cat([values_at(feature.float(), cells.shape[1:], *at)
                                for feature in feature_maps(backbone, images.to(device))], 1)
            features = values.new_empty(len(chosen), values.shape[1]) if features is None else features
            features[here.to(device)] = values
        start += len(images)
    if features is None:
        return [torch.empty(0, 0, device=device) for _ in wanted]
    return list(features.split([len(own) for own in places]))


def _fit(drawn: Sequence[Sequence[Tensor]], shares: np.ndarray, l2: float) -> Classifier:
    """The classifier of one choice, for features as the backbone gives them: (K, D) and (K, )."""
    rows = [features[:share] for tile, own in zip(drawn, shares) for features, share in zip(tile, own) if share]
    features = torch.cat(rows)
    labels = np.tile(np.arange(shares.shape[1]), len(shares)).repeat(shares.ravel())
    mean, std = channel_statistics(features)
    weight, bias = fit_logistic((features - mean) / std, torch.from_numpy(labels).to(features.device), shares.shape[1],
                                l2)
    weight = weight / std
    return weight, bias - weight @ mean
