"""Cross-validation over a few labelled tiles: which are left out in turn, and what is drawn from the others."""
from collections.abc import Sequence

import numpy as np

from .balanced_sample import shares_of_groups

__all__ = ['MAX_FOLDS', 'fold_shares', 'folds_of', 'kept_in']

MAX_FOLDS = 5  # of more labelled tiles several are left out at once


def folds_of(count: int) -> list[list[int]]:
    """Which of ``count`` tiles are left out in turn: one at a time, of many a fifth; none of a single one."""
    number = min(count, MAX_FOLDS)
    return [list(range(fold, count, number)) for fold in range(number)] if count > 1 else []


def kept_in(fold: Sequence[int], count: int) -> list[int]:
    """The tiles out of ``count`` that are not left out."""
    return [index for index in range(count) if index not in fold]


def fold_shares(counts: np.ndarray, folds: Sequence[Sequence[int]],
                total: int) -> tuple[list[np.ndarray], np.ndarray]:
    """What each fold learns from, and what has to be drawn for all of them together.

    Args:
        counts: (N, K) integers, labelled pixels of each class in each tile.
        folds: Tiles that are left out.
        total: Size of the sample of a fold, at most.

    Returns:
        For each fold (kept, K) integers, see :func:`~.balanced_sample.balanced_shares`, of the tiles that it keeps;
        and (N, K), the most that a fold takes from each tile.
    """
    return shares_of_groups(counts, [kept_in(fold, len(counts)) for fold in folds], total)
