"""Writing few labels into masks, and what counts as few."""
import numpy as np
import pytest

from egmim_mm.storage.sparse_masks import burn, disc, is_sparse


def test_a_disc_holds_the_pixels_within_its_radius():
    assert disc(0).tolist() == disc(0.9).tolist() == [[True]]
    assert disc(1).astype(int).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert disc(2).sum() == 13 and disc(2.5).sum() == 21


def test_later_shapes_win_and_what_they_take_is_counted():
    labels = np.full((4, 5), 255, np.uint8)
    assert burn(labels, np.ones((2, 2), bool), 0, 0, 1) == 0
    assert burn(labels, np.ones((2, 2), bool), 1, 1, 1) == 0  # its own class is no other
    assert burn(labels, disc(1), 0, 1, 0) == 3
    assert labels.tolist() == [[1, 1, 0, 255, 255], [1, 0, 0, 0, 255], [255, 1, 0, 255, 255], [255] * 5]


@pytest.mark.parametrize(('top', 'left', 'pixels'), [(-1, -2, 2), (3, 4, 1), (-2, 0, 0), (9, 9, 0), (0, -9, 0)])
def test_what_lies_outside_is_cut_off(top, left, pixels):
    labels = np.full((4, 5), 255, np.uint8)
    burn(labels, np.ones((2, 4), bool), top, left, 3)
    assert (labels == 3).sum() == pixels


@pytest.mark.parametrize(('labelled', 'sparse'), [(0, True), (49, True), (50, False), (100, False)])
def test_less_than_half_is_sparse(labelled, sparse):
    labels = np.full(100, 255, np.uint8)
    labels[:labelled] = 0
    assert is_sparse(labels.reshape(10, 10)) == sparse
