"""Fitting and the choice of settings, on scenes whose colours tell the class."""
import numpy as np
import pytest
from toy_scenes import scene

from egmim_mm.baselines.forest_fitting import ForestSettings, LabelledTile, choose_settings, fit_forest
from egmim_mm.baselines.pixel_features import pixel_features

CLASSES = ('water', 'veg', 'building')
SMALL = ForestSettings(scale=1.0, pixels=600, trees=8)


@pytest.fixture(scope='module')
def tiles():
    return [LabelledTile(f't{seed}', *scene(seed=seed)) for seed in range(3)]


def test_learns_what_colours_mean_whatever_the_order_of_the_tiles(tiles):
    forest, again = fit_forest(tiles[:2], 3, SMALL), fit_forest(tiles[1::-1], 3, SMALL)
    image, labels = tiles[2].image, tiles[2].labels
    guess = forest.probabilities(pixel_features(image).reshape(labels.size, -1))
    assert (guess.argmax(1) == labels.ravel()).mean() > 0.95
    assert all(np.array_equal(getattr(forest, key), getattr(again, key)) for key in vars(forest))
    other = fit_forest(tiles[:2], 3, SMALL, seed=1)
    assert not np.array_equal(forest.threshold, other.threshold)


def test_choice_takes_what_is_best_on_the_tiles_left_out(tiles):
    bad = ForestSettings(scale=1.0, min_leaf=400, pixels=600, trees=8)  # leaves that large tell no classes apart
    best, compared = choose_settings(tiles, CLASSES, [bad, SMALL])
    assert best == SMALL
    assert [row['min_leaf'] for row in compared] == [400, 1]
    assert compared[0]['mIoU'] < 40 < 90 < compared[1]['mIoU']


def test_one_tile_leaves_nothing_out(tiles):
    other = ForestSettings(scale=0.5, pixels=600, trees=8)
    assert choose_settings(tiles[:1], CLASSES, [SMALL, other]) == (SMALL, [])


def test_a_single_setting_is_not_compared(tiles):
    assert choose_settings(tiles, CLASSES, [SMALL]) == (SMALL, [])


def test_tiles_of_different_band_counts_are_named(tiles):
    grey = LabelledTile('grey', tiles[0].image[..., :1], tiles[0].labels)
    for call in (lambda: fit_forest([tiles[0], grey], 3, SMALL), lambda: choose_settings([tiles[0], grey], CLASSES,
                                                                                         [SMALL])):
        with pytest.raises(ValueError, match='t0 has 3 bands and grey has 1: a model takes one number of bands'):
            call()


@pytest.mark.parametrize(('value', 'says'), [(255, 'no labelled pixel'), (1, 'one class')])
def test_labels_that_teach_nothing(tiles, value, says):
    empty = LabelledTile('t9', tiles[0].image, np.full_like(tiles[0].labels, value))
    with pytest.raises(ValueError, match=f'the labels of t9 hold {says}: a forest learns from two classes or more'):
        fit_forest([empty], 3, SMALL)


@pytest.mark.parametrize('setting', [dict(scale=0), dict(scale=1.5), dict(min_leaf=0), dict(pixels=0), dict(trees=0)])
def test_settings_out_of_range(setting):
    name, value = next(iter(setting.items()))
    with pytest.raises(ValueError, match=f'--{name.replace("_", "-")} {value} must'):
        ForestSettings(**setting)
