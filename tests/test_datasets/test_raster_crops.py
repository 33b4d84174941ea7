"""Random windows of rasters: the pixels of the file, decoded once, no-data avoided, 16 bits scaled as measured."""
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scipy.ndimage import map_coordinates

from egmim_mm.datasets import RasterCrops, SampleIndex
from egmim_mm.storage import raster_cache
from egmim_mm.storage.band_scaling import BandScaling, load_scaling, measure_bands
from egmim_mm.storage.tile_reading import TileReadError

PLACE = dict(transform=from_origin(0, 0, 1, 1), crs='EPSG:32633')


@pytest.fixture
def write_tif(tmp_path):
    """Function: (H, W, bands) -> GeoTIFF NAME.tif; returns its path."""

    def write(name, pixels, **profile):
        path = tmp_path / f'{name}.tif'
        with rasterio.open(path, 'w', driver='GTiff', height=pixels.shape[0], width=pixels.shape[1],
                           count=pixels.shape[2], dtype=pixels.dtype, **PLACE, **profile) as file:
            file.write(np.moveaxis(pixels, -1, 0))
        return path

    return write


def noise(height, width, bands=3, top=256, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, top, (height, width, bands)).astype(dtype)


def crops(root, count=12, **options):
    dataset = RasterCrops(str(root), **(dict(crop_size=16, scale_range=(1, 1), augment=False) | options))
    return [dataset[SampleIndex(i, 100 + i)] for i in range(count)]


def expected(pixels, crop):
    top, left, height, width = crop['window']
    return pixels[top:top + height, left:left + width]


@pytest.mark.parametrize('profile', [
    dict(compress='lzw', tiled=True, blockxsize=16, blockysize=16), dict(compress='deflate'), dict()])
@pytest.mark.parametrize('cache_dir', ['.egmim_cache', None])
def test_crops_are_windows_of_the_file(write_tif, tmp_path, profile, cache_dir):
    pixels = noise(60, 90)
    write_tif('a', pixels, **profile)
    for crop in crops(tmp_path, cache_dir=cache_dir):
        assert (crop['img'] == expected(pixels, crop)[..., ::-1]).all()  # BGR
        assert crop['valid'].all() and crop['img'].flags.writeable
    assert (tmp_path / '.egmim_cache').exists() == (cache_dir is not None)


def test_jpeg_compressed_rasters(write_tif, tmp_path):
    write_tif('a', np.full((64, 64, 3), (200, 100, 50), np.uint8), compress='jpeg', tiled=True, blockxsize=32,
              blockysize=32)
    assert all(np.abs(crop['img'].astype(int) - (50, 100, 200)).max() <= 4 for crop in crops(tmp_path))


def test_a_sample_depends_on_its_seed_alone(write_tif, tmp_path):
    write_tif('a', noise(60, 90))
    write_tif('b', noise(40, 40, seed=1))
    options = dict(scale_range=(0.5, 2), augment=True)
    one, two = crops(tmp_path, 40, **options), crops(tmp_path, 40, cache_dir=None, **options)
    assert all((a['img'] == b['img']).all() and a['window'] == b['window'] for a, b in zip(one, two))
    assert len({crop['window'] for crop in one}) > 6 and {crop['img_path'][-5] for crop in one} == {'a', 'b'}
    assert all(crop['img'].shape == (16, 16, 3) for crop in one)


def test_turns_keep_image_and_validity_together(write_tif, tmp_path):
    pixels = noise(60, 60, top=200) + np.uint8(1)
    pixels[20:40] = 0
    write_tif('a', pixels, nodata=0)
    turned = crops(tmp_path, augment=True, min_valid=0)
    assert any(not crop['valid'].all() for crop in turned)
    for crop in turned:
        assert ((crop['img'] > 0).all(axis=-1) == crop['valid']).all()


def smooth(height, width):
    """Three bands, each a different smooth function of the place on the ground."""
    rows, columns = np.indices((height, width))
    return np.stack([40 + rows + columns / 2, 128 + 100 * np.sin(columns / 9) * np.cos(rows / 13),
                     220 - rows / 2 - columns], axis=-1).clip(0, 255)


@pytest.mark.parametrize('cache_dir', ['.egmim_cache', None])
@pytest.mark.parametrize('scale', [1, 0.5, 1.6])
def test_rotated_crops_sample_the_predicted_ground(write_tif, tmp_path, cache_dir, scale):
    ground = smooth(96, 128).round()
    write_tif('a', ground.astype(np.uint8))
    angles, errors, shifted = [], [], []
    for crop in crops(tmp_path, 20, scale_range=(scale, scale), rotation=(-180, 180), cache_dir=cache_dir):
        top, left, side, _ = crop['window']
        assert side == round(16 / scale) and crop['valid'].all()
        # the centre of output pixel (u, v), turned about the centre of the window, on the grid of pixel centres
        v, u = (np.indices((16, 16)) + 0.5 - 8) * side / 16
        turn = np.radians(crop['angle'])
        x = left + side / 2 + np.cos(turn) * u - np.sin(turn) * v - 0.5
        y = top + side / 2 + np.sin(turn) * u + np.cos(turn) * v - 0.5
        for offset, found in ((0, errors), (0.5, shifted)):
            exact = [map_coordinates(ground[..., band], (y + offset, x), order=1) for band in range(3)]
            found.append(np.abs(crop['img'][..., ::-1] - np.stack(exact, axis=-1)))
        angles.append(crop['angle'])
    assert np.mean(errors) < 0.5 and np.max(errors) < 4
    assert np.mean(shifted) > 2 * np.mean(errors)  # half a pixel off would show
    assert min(angles) < -60 and max(angles) > 60


def test_a_quarter_turn_as_rotation_is_that_of_numpy(write_tif, tmp_path):
    pixels = noise(50, 60, 7)
    write_tif('a', pixels)
    for angle in (90, 180, -90):
        for crop in crops(tmp_path, 5, rotation=(angle, angle)):
            assert (crop['img'] == np.rot90(expected(pixels, crop), angle // 90)).all() and crop['valid'].all()


def test_rotation_knows_where_the_raster_ends_and_where_data_is(write_tif, tmp_path):
    pixels = noise(16, 40, top=200) + np.uint8(50)  # as high as a crop: its turned corners lie outside
    pixels[:, :12] = 0
    write_tif('a', pixels, nodata=0)
    seen = crops(tmp_path, 30, rotation=(45, 45), min_valid=0)
    for crop in seen:
        top, left, side, _ = crop['window']
        v, u = np.indices((16, 16)) - 7.5
        x, y = left + 7.5 + (u - v) / np.sqrt(2), top + 7.5 + (u + v) / np.sqrt(2)
        outside = (np.abs(y - 7.5) > 8) | (x < -0.5) | (x > 39.5)
        assert not crop['valid'][outside].any() and (crop['img'][outside] == 0).all() and outside.any()
        sure = ~outside & (np.abs(x - 11.5) > 0.1)
        assert (crop['valid'][sure] == (x[sure] > 11.5)).all()
    assert 0.3 < np.mean([crop['valid'].mean() for crop in seen]) < 0.9


def test_rotation_is_drawn_from_the_seed_and_off_by_default(write_tif, tmp_path):
    write_tif('a', noise(60, 90))
    options = dict(rotation=(0, 360), scale_range=(0.5, 2), augment=True)
    one, two = crops(tmp_path, **options), crops(tmp_path, cache_dir=None, **options)
    assert all((a['img'] == b['img']).all() and a['angle'] == b['angle'] for a, b in zip(one, two))
    assert len({crop['angle'] for crop in one}) == len(one)
    assert {crop['angle'] for crop in crops(tmp_path)} == {0.0}


def test_rasters_are_decoded_once(write_tif, tmp_path, monkeypatch):
    path = write_tif('a', noise(40, 40))
    decoded, original = [], raster_cache._decode
    monkeypatch.setattr(raster_cache, '_decode', lambda path, *rest: decoded.append(path) or original(path, *rest))
    for _ in range(2):
        crops(tmp_path)
    assert decoded == [str(path)]
    pixels = noise(40, 44, seed=5)
    write_tif('a', pixels)
    assert all((crop['img'] == expected(pixels, crop)[..., ::-1]).all() for crop in crops(tmp_path))
    crops(tmp_path, bands=[3, 2, 1])
    assert len(decoded) == 3


def test_no_data_is_avoided(write_tif, tmp_path):
    pixels = noise(80, 80) | np.uint8(1)
    pixels[:, 30:] = 0  # more than half of the raster
    write_tif('a', pixels, nodata=0)
    shares = [crop['valid'].mean() for crop in crops(tmp_path, 40, min_valid=0.9)]
    assert np.mean([share >= 0.9 for share in shares]) > 0.8
    assert np.mean([crop['valid'].mean() for crop in crops(tmp_path, 40, min_valid=0)]) < 0.6


def test_sixteen_bits_are_scaled_as_measured(write_tif, tmp_path):
    pixels = noise(100, 100, 4, 3000, np.uint16)
    path = write_tif('a', pixels)
    with pytest.raises(TileReadError, match='uint16 samples need a scaling.*measure_bands.py'):
        crops(tmp_path)
    facts = measure_bands([str(path)], windows=300, size=32)
    for band in facts['bands']:
        assert band['low'] == pytest.approx(30, abs=8) and band['high'] == pytest.approx(2970, abs=8)
        assert band['mean'] == pytest.approx(127.5, abs=2)
    (tmp_path / 'bands.json').write_text(json.dumps(facts))
    scaling = load_scaling(str(tmp_path / 'bands.json'))
    for crop in crops(tmp_path, scaling=str(tmp_path / 'bands.json')):
        part = expected(pixels, crop).astype(float)
        exact = np.clip((part - scaling.low) * 255 / (np.array(scaling.high) - scaling.low), 0, 255)
        assert crop['img'].shape == (16, 16, 4) and np.abs(crop['img'] - exact).max() < 0.51
    three = crops(tmp_path, bands=[4, 2, 1], scaling=[(0, 3000)] * 3)[0]
    assert np.abs(three['img'] - expected(pixels, three)[..., [0, 1, 3]] * (255 / 3000)).max() < 0.51


def test_bad_rasters_and_options(write_tif, tmp_path):
    with pytest.raises(FileNotFoundError, match='no rasters'):
        crops(tmp_path)
    path = write_tif('a', noise(40, 40))
    for options, message in ((dict(bands=[1, 2, 4]), 'a.tif: has 3 bands, band 4 is asked for'),
                             (dict(scaling=[(0, 9)] * 2), 'a scaling of 2 bands for 3 bands'),
                             (dict(scaling=[(9, 0)] * 3), 'needs a high above its low'),
                             (dict(scale_range=(0, 1)), 'scale_range'), (dict(rotation=(9, 0)), 'rotation'),
                             (dict(min_valid=2), 'min_valid')):
        with pytest.raises(ValueError, match=message):
            crops(tmp_path, **options)
    (tmp_path / 'bands.json').write_text('{}')
    with pytest.raises(ValueError, match='bands.json is not a file of tools/measure_bands.py'):
        crops(tmp_path, scaling=str(tmp_path / 'bands.json'))
    with pytest.raises(ValueError, match='no valid pixels'):
        measure_bands([str(write_tif('empty', np.zeros((20, 20, 1), np.uint8), nodata=0))])
    path.write_bytes(b'no raster')
    with pytest.raises(TileReadError, match='a.tif: not a raster'):
        crops(tmp_path)


def test_a_full_disk_leaves_no_half_cache(write_tif, tmp_path, monkeypatch):
    write_tif('a', noise(40, 40))

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'replace', full)
    with pytest.raises(TileReadError, match='a.tif: cannot be decoded to .*No space left.*cache_dir=None'):
        crops(tmp_path)
    assert not list((tmp_path / '.egmim_cache').iterdir())


def test_scaling_of_nan_and_extremes():
    scaled = BandScaling((0.0, ), (10.0, )).apply(np.array([[np.nan], [-5], [5], [99]]))
    assert scaled.ravel().tolist() == [0, 0, 128, 255]
