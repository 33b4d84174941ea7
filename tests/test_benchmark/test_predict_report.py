"""Tiles that predictions are timed on: mosaics of scenes no data set holds."""
import numpy as np
import pytest

from egmim_mm.benchmark.predict import SCENES, LabelledTile, block_counts, miou_gain, synthetic_tiles
from egmim_mm.synthetic import CLASSES, make_scene


def test_tiles_are_mosaics_of_different_scenes():
    first, second = synthetic_tiles(2, 600, CLASSES)
    assert first.image.shape == (600, 600, 3) and first.mask.shape == (600, 600)
    cells = [(first, 0, np.s_[:512, :512], (512, 512)), (first, 1, np.s_[:512, 512:], (512, 88)),
             (second, 4 + 3, np.s_[512:, 512:], (88, 88))]
    for tile, number, place, size in cells:
        image, mask = make_scene((*SCENES[:2], SCENES[2] + number), 512)
        assert np.array_equal(tile.image[place], image[:size[0], :size[1]])
        assert np.array_equal(tile.mask[place], mask[:size[0], :size[1]])


def test_a_small_tile_is_one_scene():
    tile, = synthetic_tiles(1, 64, CLASSES)
    image, mask = make_scene(SCENES, 64)
    assert np.array_equal(tile.image, image) and np.array_equal(tile.mask, mask)


def test_a_model_of_other_classes_cannot_be_measured_on_them():
    with pytest.raises(ValueError, match=r'the model has the classes road, .*--test-data'):
        synthetic_tiles(1, 64, ('road', 'water'))


def test_gain_over_the_stock_maps_has_a_paired_interval():
    rng = np.random.default_rng(0)
    tiles = [LabelledTile(np.zeros((600, 600, 3), np.uint8), rng.integers(0, 2, (600, 600)).astype(np.uint8))]
    right, noisy = tiles[0].mask.copy(), tiles[0].mask.copy()
    noisy[:, ::4] = 1 - noisy[:, ::4]  # a quarter is wrong everywhere
    counts = {name: block_counts([found], tiles, 2) for name, found in (('right', right), ('noisy', noisy))}
    assert counts['right'].shape == (4, 2, 2) and counts['right'].sum() == 360_000
    gain = miou_gain(counts['right'], counts['noisy'], ('a', 'b'))
    assert gain['value'] == pytest.approx(100 - 60, abs=0.5)  # IoU .75 / 1.25
    assert 39 < gain['low'] <= gain['value'] <= gain['high'] < 41
    assert miou_gain(counts['noisy'], counts['noisy'], ('a', 'b')) == dict(value=0, low=0, high=0)
