"""Weak labels simulated from dense masks: how many, where, and the same each time."""
import numpy as np
import pytest

from egmim_mm.datasets import LoadTile, LoadTileMask, SparseLabels
from egmim_mm.datasets.plain_tiles import load_steps
from egmim_mm.evaluation.protocol import describe_split


@pytest.fixture
def dense():
    labels = np.random.default_rng(0).integers(0, 3, (60, 80)).astype(np.uint8)
    labels[:, :20] = 255
    return labels


def points(dense, name='a', **options):
    return SparseLabels(**options)(dict(gt_seg_map=dense, tile_name=name))['gt_seg_map']


def test_so_many_pixels_keep_their_label(dense):
    sparse = points(dense, points=100)
    kept = sparse != 255
    assert kept.sum() == 100 and (sparse[kept] == dense[kept]).all() and not kept[:, :20].any()
    assert sparse.dtype == np.uint8 and (dense != 255).sum() == 3600  # the mask of the cache stays as it is
    few = np.where(np.arange(60 * 80).reshape(60, 80) % 1000 == 30, dense, 255)
    assert (points(few, points=100) == few).all()


def test_points_depend_on_tile_and_seed_alone_and_fewer_are_the_first_of_more(dense):
    transform = SparseLabels(points=50, seed=3)
    first, other, again = (transform(dict(gt_seg_map=dense, tile_name=name))['gt_seg_map'] for name in 'aba')
    assert (first == again).all() and (first == points(dense, points=50, seed=3)).all()
    assert (first != other).any() and (first != points(dense, points=50, seed=4)).any()
    more = points(dense, points=200, seed=3)
    assert (more[first != 255] == first[first != 255]).all()


def test_they_are_spread_evenly_over_the_labelled_pixels(dense):
    kept = sum((points(dense, points=200, seed=seed) != 255).astype(int) for seed in range(20))
    quarters = kept[:, 20:].reshape(2, 30, 2, 30).sum((1, 3))
    assert quarters.sum() == 4000 and (abs(quarters - 1000) < 120).all()


def test_a_radius_makes_discs_of_the_class_that_was_clicked():
    dense = np.zeros((40, 40), np.uint8)
    dense[20:] = 1
    sparse, centres = points(dense, points=5, radius=2), points(dense, points=5)
    rows, columns = np.indices(dense.shape)
    near = {}
    for row, column in zip(*np.nonzero(centres != 255)):
        for place in zip(*np.nonzero((rows - row)**2 + (columns - column)**2 <= 4)):
            near.setdefault(place, set()).add(centres[row, column])
    assert {tuple(place) for place in np.argwhere(sparse != 255).tolist()} == set(near)
    assert all(sparse[place] in classes for place, classes in near.items())


def test_it_is_a_part_of_loading_and_stands_in_the_protocol():
    steps = [LoadTile(), LoadTileMask(), SparseLabels()]
    assert load_steps([*steps, object()]) == steps
    step = dict(type='egmim_mm.SparseLabels', points=20, seed=1)
    assert load_steps([dict(type='egmim_mm.LoadTile'), step, dict(type='Flip')])[1] is step
    split = describe_split(dict(type='egmim_mm.SegmentationTiles', data_root='d', pipeline=[step]))
    assert split == dict(type='egmim_mm.SegmentationTiles', data_root='d', sparse_labels=dict(points=20, seed=1))


@pytest.mark.parametrize('number', [0, -1, 2.5, True])
def test_a_number_of_points_that_is_none(number):
    with pytest.raises(ValueError, match=f'points={number} must be a whole number, 1 or more'):
        SparseLabels(points=number)


def test_bad_use(dense):
    with pytest.raises(ValueError, match='radius=-1 px must not be negative'):
        SparseLabels(radius=-1)
    with pytest.raises(ValueError, match='put it after egmim_mm.LoadTileMask'):
        SparseLabels()(dict(tile_name='a'))
