"""Class-balanced samples of the pixels of a few tiles. Pure NumPy.

A sample of a smaller group of tiles is drawn from the same order of pixels: several groups (folds, label seeds) share
what was computed for a tile.
"""
import hashlib
from collections.abc import Sequence

import numpy as np

__all__ = ['balanced_shares', 'draw_places', 'shares_of_groups', 'tile_generator']


def balanced_shares(counts: np.ndarray, total: int) -> np.ndarray:
    """How many pixels of each class each tile gives to a sample with equal classes.

    Each class that occurs gets ``total // classes`` pixels, or all it has; its tiles give in proportion to what they
    hold (largest remainders).

    Args:
        counts: (N, K) integers, labelled pixels of each class in each tile.
        total: Size of the sample, at most.

    Returns:
        (N, K) int64, nowhere above ``counts``.
    """
    counts = np.asarray(counts, dtype=np.int64)
    held = counts.sum(0)
    quota = np.minimum(held, total // max(1, int((held > 0).sum())))
    exact = counts * (quota / np.maximum(held, 1))
    shares = np.floor(exact).astype(np.int64)
    for index in range(counts.shape[1]):
        missing = quota[index] - shares[:, index].sum()
        order = np.argsort(shares[:, index] - exact[:, index], kind='stable')  # largest remainder first
        shares[order[:missing], index] += 1
    return shares


def shares_of_groups(counts: np.ndarray, groups: Sequence[Sequence[int]],
                     total: int) -> tuple[list[np.ndarray], np.ndarray]:
    """What each of several groups of tiles learns from, and what has to be drawn for all of them together.

    Args:
        counts: (N, K) integers, labelled pixels of each class in each tile.
        groups: Tiles of each group.
        total: Size of the sample of a group, at most.

    Returns:
        For each group (n, K) integers, see :func:`balanced_shares`, of its tiles; and (N, K), the most that a group
        takes from each tile.
    """
    shares, wanted = [balanced_shares(counts[list(group)], total) for group in groups], np.zeros_like(counts)
    for group, own in zip(groups, shares):
        wanted[list(group)] = np.maximum(wanted[list(group)], own)
    return shares, wanted


def tile_generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one tile: they depend on nothing but the seed and its name."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), 'big')])


def draw_places(labels: np.ndarray, wanted: Sequence[int], generator: np.random.Generator) -> list[np.ndarray]:
    """Random pixels of each class, without replacement.

    Args:
        labels: Class numbers, any shape; other values are not drawn.
        wanted: K numbers of pixels.
        generator: Fewer wanted pixels are the first of more, with the same state of it.

    Returns:
        K arrays of indices into ``labels.ravel()``; fewer than wanted where the class has fewer.
    """
    flat = labels.ravel()
    return [generator.permutation(np.flatnonzero(flat == number))[:count] for number, count in enumerate(wanted)]
