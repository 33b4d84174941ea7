"""Fitting a forest to the labelled tiles, and choosing its settings on these tiles alone."""
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier

from egmim_mm.evaluation.confusion import confusion_matrix, segmentation_scores
from egmim_mm.readout.balanced_sample import balanced_shares, draw_places, tile_generator
from egmim_mm.readout.folds import fold_shares, folds_of, kept_in

from .forest import Forest
from .pixel_features import pixel_features, shrunk_labels

__all__ = ['ForestSettings', 'LabelledTile', 'choose_settings', 'fit_forest']

TREES = 30  # of a forest that only compares settings: enough to rank them
CHECKED_PIXELS = 20_000  # of a tile that is left out: a standard error of its accuracy below half a point


class LabelledTile(NamedTuple):
    """A tile in memory: image (H, W, C) uint8, RGB; labels (H, W) uint8, class numbers or 255."""

    name: str
    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class ForestSettings:
    """How a forest is made.

    Args:
        scale: At which the image is looked at, in (0, 1].
        min_leaf: Fewest pixels of a leaf, which bounds the depth; 1: trees grow until their leaves are pure.
        pixels: Pixels that are learned from, as many of each class.
        trees: Number of trees.

    Raises:
        ValueError: A number that is out of range.
    """

    scale: float = 0.5
    min_leaf: int = 1
    pixels: int = 20_000
    trees: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f'--scale {self.scale} must lie in (0, 1]')
        for name in ('min_leaf', 'pixels', 'trees'):
            if getattr(self, name) < 1:
                raise ValueError(f'--{name.replace("_", "-")} {getattr(self, name)} must be at least 1')

    def __str__(self) -> str:
        return ', '.join(f'{name} {value:g}' for name, value in asdict(self).items())


class _Sample(NamedTuple):
    """Of one tile: features of its pixels of each class, in random order; features, labels and weight of a uniform
    sample, which it is judged by when it is left out."""

    drawn: list[np.ndarray]
    checked: np.ndarray
    truth: np.ndarray
    weight: float


def fit_forest(tiles: Sequence[LabelledTile], num_classes: int, settings: ForestSettings, seed: int = 0) -> Forest:
    """Fit a forest to a class-balanced sample of the labelled pixels of some tiles.

    Args:
        tiles: At least one.
        num_classes: K.
        settings: Of the forest.
        seed: Of the sample and of the forest, in which the order of the tiles plays no part.

    Raises:
        ValueError: Tiles with different numbers of bands, or labels of fewer than two classes.
    """
    tiles = sorted(tiles, key=lambda tile: tile.name)
    counts = _counts(tiles, num_classes, settings.scale)
    shares = balanced_shares(counts, settings.pixels)
    drawn = [_sample(tile, share, settings.scale, seed).drawn for tile, share in zip(tiles, shares)]
    return Forest.of(_fit(drawn, shares, settings, seed), num_classes)


def choose_settings(tiles: Sequence[LabelledTile], classes: Sequence[str], options: Sequence[ForestSettings],
                    seed: int = 0) -> tuple[ForestSettings, list[dict[str, Any]]]:
    """The best of several settings, by leaving labelled tiles out in turn; no other image is looked at.

    The forests of this comparison have 30 trees at most.

    Args:
        tiles: Labelled tiles. Of a single one nothing can be left out: the first of the options is taken.
        classes: K names.
        options: The first one wins a tie.
        seed: See :func:`fit_forest`.

    Returns:
        The choice; and for each of the options its settings and ``mIoU``, per cent, pooled over the tiles left out.

    Raises:
        ValueError: As :func:`fit_forest`.
    """
    tiles = sorted(tiles, key=lambda tile: tile.name)
    folds = folds_of(len(tiles))
    if not folds or len(options) == 1:
        _counts(tiles, len(classes), options[0].scale)
        return options[0], []
    scores = {}
    for (scale, pixels), group in itertools.groupby(sorted(options, key=_sampling), _sampling):
        counts = _counts(tiles, len(classes), scale)
        shares, wanted = fold_shares(counts, folds, pixels)
        samples = [_sample(tile, most, scale, seed) for tile, most in zip(tiles, wanted)]
        for settings in group:
            confusion = np.zeros((len(classes), len(classes)))
            for fold, share in zip(folds, shares):
                model = _fit([samples[index].drawn for index in kept_in(fold, len(tiles))], share,
                             replace(settings, trees=min(settings.trees, TREES)), seed)
                forest = Forest.of(model, len(classes))
                confusion += sum(_judge(forest, samples[index], len(classes)) for index in fold)
            scores[settings] = segmentation_scores(confusion, classes)['mIoU']
    best = max(options, key=scores.get)
    return best, [asdict(settings) | dict(mIoU=scores[settings]) for settings in options]


def _sampling(settings: ForestSettings) -> tuple[float, int]:
    """What decides which pixels are drawn: their features are computed once for all settings that share it."""
    return settings.scale, settings.pixels


def _counts(tiles: Sequence[LabelledTile], num_classes: int, scale: float) -> np.ndarray:
    """(N, K) labelled pixels of each class in each shrunk tile, after checking that there is something to learn."""
    for tile in tiles:
        if tile.image.shape[2] != tiles[0].image.shape[2]:
            raise ValueError(f'{tile.name} has {tile.image.shape[2]} bands and {tiles[0].name} has '
                             f'{tiles[0].image.shape[2]}: a model takes one number of bands')
    counts = []
    for tile in tiles:
        labels = shrunk_labels(tile.labels, scale)
        counts.append(np.bincount(labels[labels < num_classes], minlength=num_classes))
    held = int((np.sum(counts, axis=0) > 0).sum())
    if held < 2:
        names = ', '.join(tile.name for tile in tiles)
        raise ValueError(f'the labels of {names} hold {"one class" if held else "no labelled pixel"}: a forest learns '
                         'from two classes or more; label other tiles, or give a larger --budget')
    return np.array(counts)


def _sample(tile: LabelledTile, wanted: Sequence[int], scale: float, seed: int) -> _Sample:
    labels, features = shrunk_labels(tile.labels, scale), pixel_features(tile.image, scale)
    features = features.reshape(labels.size, -1)
    generator = tile_generator(seed, tile.name)
    drawn = [features[places] for places in draw_places(labels, wanted, generator)]
    labelled = np.flatnonzero(labels.ravel() < len(wanted))
    checked = generator.permutation(labelled)[:CHECKED_PIXELS]
    return _Sample(drawn, features[checked], labels.ravel()[checked], len(labelled) / max(1, len(checked)))


def _fit(drawn: Sequence[Sequence[np.ndarray]], shares: np.ndarray, settings: ForestSettings,
         seed: int) -> RandomForestClassifier:
    """A forest on the first ``shares[t, k]`` drawn pixels of class k in tile t."""
    rows = [features[:share] for tile, own in zip(drawn, shares) for features, share in zip(tile, own)]
    labels = np.tile(np.arange(shares.shape[1]), len(shares)).repeat(shares.ravel())
    # weights even out a class that has fewer pixels than its share
    model = RandomForestClassifier(settings.trees, min_samples_leaf=settings.min_leaf, class_weight='balanced',
                                   random_state=seed, n_jobs=-1)
    return model.fit(np.concatenate(rows), labels)


def _judge(forest: Forest, sample: _Sample, num_classes: int) -> np.ndarray:
    """(K, K) confusion matrix of a tile, estimated from its sample."""
    guess = forest.probabilities(sample.checked).argmax(1)
    counts = confusion_matrix(torch.from_numpy(guess), torch.from_numpy(sample.truth.astype(np.int64)), num_classes)
    return sample.weight * counts.numpy()
