"""Confidence intervals of segmentation scores by bootstrap over images (Efron and Tibshirani, 1993, chapter 13)."""
from collections.abc import Sequence

import numpy as np

from .confusion import segmentation_scores

CHUNK = 64  # resamples at a time: bounds the memory for their counts


def bootstrap_confusions(confusions: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Pooled confusion matrices of resampled test sets.

    Each draw takes N images with replacement; an image drawn twice counts twice.

    Args:
        confusions: (N, K, K) counts of each image.
        draws: Number of resamples B.
        seed: Of the resampling.

    Returns:
        (B, K, K) float64, whole numbers (exact up to 2^53 pixels).
    """
    images, classes = confusions.shape[:2]
    flat, rng = np.asarray(confusions, dtype=np.float64).reshape(images, -1), np.random.default_rng(seed)
    pooled = [rng.multinomial(images, np.full(images, 1 / images), min(CHUNK, draws - start)) @ flat
              for start in range(0, draws, CHUNK)]
    return np.concatenate(pooled).reshape(draws, classes, classes)


def bootstrap_intervals(confusions: np.ndarray, classes: Sequence[str], draws: int = 1000, seed: int = 0,
                        level: float = 0.95) -> dict[str, list[float]]:
    """Percentile intervals of the scores of a test set, under resampling of its images.

    It says how far the scores depend on which images are in the test set, not how they vary between trainings.
    Resamples in which a score is undefined (its class is in none of the drawn images) do not count for that score.

    Args:
        confusions: (N, K, K) counts of each image; rows are the truth.
        classes: K class names.
        draws: Number of resamples.
        seed: Of the resampling; the same numbers give the same intervals.
        level: Share of the resamples inside the interval, in (0, 1).

    Returns:
        Score -> [lower, upper] in the unit of the score, for all of
        :func:`~egmim_mm.evaluation.segmentation_scores`; [NaN, NaN] for an undefined score.

    Raises:
        ValueError: No image, fewer than two draws, or a level outside (0, 1).
    """
    confusions = np.asarray(confusions)
    if confusions.ndim != 3 or not len(confusions):
        raise ValueError(f'confusions has shape {confusions.shape}: give one (K, K) matrix for each of N > 0 images')
    if draws < 2 or not 0 < level < 1:
        raise ValueError(f'draws is {draws} and level {level}: give at least 2 draws and a level between 0 and 1')
    rows = [segmentation_scores(counts, classes) for counts in bootstrap_confusions(confusions, draws, seed)]
    tails = [50 * (1 - level), 50 * (1 + level)]  # per cent
    intervals = {}
    for key in rows[0]:
        values = np.array([row[key] for row in rows])
        values = values[~np.isnan(values)]
        intervals[key] = [float(v) for v in np.percentile(values, tails)] if values.size else [float('nan')] * 2
    return intervals
