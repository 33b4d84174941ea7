"""How much better one model is than another on the same test images, over several trainings. Pure functions."""
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

CHUNK = 64  # resamples at a time: bounds the memory

__all__ = ['PairedScores', 'overlaps', 'paired_bootstrap', 'scores_of']


class PairedScores(NamedTuple):
    """Scores of two models: the mean over classes first, then each class; per cent, NaN where undefined.

    ``first``, ``second``, ``difference`` (second less first, mean over seeds), ``low`` and ``high`` (its interval):
    (1 + K, ) float64. ``per_seed``: (S, 1 + K), the differences of each seed.
    """

    first: np.ndarray
    second: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    per_seed: np.ndarray


def overlaps(counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Intersections and unions of each image, whose sums make an IoU.

    Args:
        counts: Of :func:`~egmim_mm.evaluation.per_image.read_per_image`.

    Returns:
        ``mIoU`` and, if the boundaries were counted, ``boundary_mIoU_<w>`` -> (N, 2, K) int64, px.
    """
    confusion = counts['confusion']
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    found = {'mIoU': np.stack([hit, confusion.sum(1) + confusion.sum(2) - hit], 1)}
    return found | {key.replace('boundary_iou_', 'boundary_mIoU_'): array for key, array in counts.items()
                    if key.startswith('boundary_iou_')}


def scores_of(overlap: np.ndarray) -> np.ndarray:
    """(..., 2, K) intersections and unions -> (..., 1 + K) per cent: mean over the classes that occur, each class."""
    hit, union = overlap[..., 0, :].astype(np.float64), overlap[..., 1, :]
    shares = 100 * hit / np.where(union > 0, union, np.nan)
    occur = (union > 0).sum(-1, keepdims=True)
    return np.concatenate([np.nansum(shares, -1, keepdims=True) / np.where(occur, occur, np.nan), shares], -1)


def paired_bootstrap(first: np.ndarray, second: np.ndarray, draws: int = 2000, seed: int = 0,
                     level: float = 0.95, pretrainings: int = 1) -> PairedScores:
    """Difference of two models with a percentile interval by bootstrap over seeds and images.

    Each resample draws S seeds and N images with replacement. All trainings are judged on the same images, so one draw
    of images serves all seeds and both models: what makes an image hard for all of them cancels. For each drawn seed
    the counts of the drawn images are pooled and scored, and the differences are averaged over the drawn seeds. With
    one seed the interval is over images alone. With few seeds it is too narrow: three values hardly show how far
    others would lie.

    With several pretrainings P, each of the S / P seeds was trained from each of them. Pretrainings and seeds are drawn
    each by itself, and a run counts as often as both of its own were drawn.

    Args:
        first: (S, N, 2, K) intersections and unions of each seed and image, see :func:`overlaps`.
        second: The same of the other model; seed s of both belongs together.
        draws: Number of resamples.
        seed: Of the resampling; the same numbers give the same interval.
        level: Share of the resamples inside the interval, in (0, 1).
        pretrainings: P; the runs of the first come first.

    Raises:
        ValueError: Arrays of different shapes, fewer than two draws, a level outside (0, 1), or runs that do not divide
            into so many pretrainings.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise ValueError(f'counts of shapes {first.shape} and {second.shape} cannot be paired')
    if draws < 2 or not 0 < level < 1:
        raise ValueError(f'draws is {draws} and level {level}: give at least 2 draws and a level between 0 and 1')
    if pretrainings < 1 or first.shape[0] % pretrainings:
        raise ValueError(f'{first.shape[0]} runs cannot be those of {pretrainings} pretrainings')
    scores = [scores_of(counts.sum(1)) for counts in (first, second)]  # (S, 1 + K)
    per_seed = scores[1] - scores[0]
    rng, resampled = np.random.default_rng(seed), []
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        images = _drawn(rng, first.shape[1], size)
        seeds = _drawn(rng, first.shape[0] // pretrainings, size)
        if pretrainings > 1:
            seeds = (_drawn(rng, pretrainings, size)[:, :, None] * seeds[:, None]).reshape(size, -1)
        gained = _resampled(second, images) - _resampled(first, images)  # (B, S, 1 + K)
        resampled.append(_weighted_mean(gained, seeds[..., None]))
    tails = [50 * (1 - level), 50 * (1 + level)]  # per cent
    low, high = np.array([_percentiles(column, tails) for column in np.concatenate(resampled).T]).T
    means = [_weighted_mean(values, np.ones((len(values), 1)), axis=0) for values in (*scores, per_seed)]
    return PairedScores(*means, low, high, per_seed)


def _drawn(rng: np.random.Generator, number: int, size: int) -> np.ndarray:
    """(size, number) how often each is drawn."""
    return rng.multinomial(number, np.full(number, 1 / number), size)


def _resampled(counts: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(S, N, 2, K) counts and (B, N) weights -> (B, S, 1 + K) scores."""
    return scores_of(np.einsum('bn,snok->bsok', images.astype(np.float64), counts, optimize=True))


def _weighted_mean(values: np.ndarray, weights: np.ndarray, axis: int = 1) -> np.ndarray:
    """Mean of the defined values; NaN where there is none."""
    weights = np.where(np.isnan(values), 0, weights)
    total = weights.sum(axis)
    return np.nansum(values * weights, axis) / np.where(total, total, np.nan)


def _percentiles(values: np.ndarray, tails: list[float]) -> np.ndarray:
    values = values[~np.isnan(values)]
    return np.percentile(values, tails) if values.size else np.full(2, np.nan)
