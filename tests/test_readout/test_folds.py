"""Which tiles are left out in turn, and what the others give."""
import numpy as np
import pytest

from egmim_mm.readout.balanced_sample import balanced_shares
from egmim_mm.readout.folds import fold_shares, folds_of, kept_in


def test_folds():
    assert folds_of(1) == []
    assert folds_of(3) == [[0], [1], [2]]
    assert folds_of(7) == [[0, 5], [1, 6], [2], [3], [4]]


@pytest.mark.parametrize('count', [2, 5, 6, 13])
def test_every_tile_is_left_out_once_and_kept_otherwise(count):
    folds = folds_of(count)
    assert sorted(tile for fold in folds for tile in fold) == list(range(count))
    assert all(sorted([*fold, *kept_in(fold, count)]) == list(range(count)) for fold in folds)


def test_what_is_drawn_is_enough_for_each_fold():
    counts = np.array([[30, 5], [8, 40], [20, 0]])
    shares, wanted = fold_shares(counts, folds_of(3), 24)
    assert [share.tolist() for share in shares] == [balanced_shares(counts[kept], 24).tolist()
                                                    for kept in ([1, 2], [0, 2], [0, 1])]
    assert wanted.tolist() == [[9, 5], [3, 12], [9, 0]]
