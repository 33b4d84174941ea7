"""Maps of rasters: the same classes as of the array, in the same place, whatever the file is like."""
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate

from egmim_mm.inference import Segmenter, predict_raster
from egmim_mm.inference.blending import Grid
from egmim_mm.inference.raster_map import read_settings
from egmim_mm.storage.band_scaling import BandScaling
from egmim_mm.storage.raster_rows import RasterRows
from egmim_mm.storage.tile_reading import TileReadError


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize('window, overlap, batch', [(64, 0.25, 3), (50, 0.6, 8), (512, 0.25, 1)])
@pytest.mark.parametrize('layout', [dict(tiled=True, blockxsize=64, blockysize=64), dict(compress='deflate')])
def test_map_is_that_of_the_array(segmenter, noise, write_raster, tmp_path, window, overlap, batch, layout):
    image = noise(210, 330)
    source = write_raster(tmp_path / 'in.tif', image, **layout)
    done = []
    predict_raster(segmenter, source, tmp_path / 'out.tif', window, overlap, batch, on_windows=done.append)
    np.testing.assert_array_equal(read(tmp_path / 'out.tif'), segmenter(image, window=512))
    assert sum(done) == len(Grid(210, 330, window, overlap))
    assert sorted(p.name for p in tmp_path.glob('*.tif')) == ['in.tif', 'out.tif']
    assert not list(tmp_path.glob('.*'))


def test_map_keeps_its_place_and_is_cloud_optimised(segmenter, noise, write_raster, tmp_path):
    source = write_raster(tmp_path / 'in.tif', noise(700, 1100))
    predict_raster(segmenter, source, tmp_path / 'out.tif', settings='made so')
    with rasterio.open(source) as before, rasterio.open(tmp_path / 'out.tif') as after:
        assert (after.shape, after.bounds, after.crs, after.transform) == (
            before.shape, before.bounds, before.crs, before.transform)
        assert after.transform.b == pytest.approx(0.1)
        assert (after.count, after.dtypes, after.nodata) == (1, ('uint8', ), 255)
        assert after.colormap(1)[1] == (0, 255, 0, 255)
        assert after.colormap(1)[255][3] == 0
        assert after.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG'
        assert after.block_shapes == [(512, 512)]
        assert after.overviews(1) == [2, 4]
    assert read_settings(tmp_path / 'out.tif') == 'made so'


def test_maps_pass_a_validation_of_cloud_optimised_files(segmenter, noise, write_raster, tmp_path):
    source = write_raster(tmp_path / 'in.tif', noise(1200, 700))
    outputs = dict(target=tmp_path / 'out.tif', probabilities=tmp_path / 'all.tif', confidence=tmp_path / 'sure.tif')
    predict_raster(segmenter, source, **outputs)
    for path in outputs.values():
        valid, errors, warnings = cog_validate(path, strict=True)
        assert (valid, errors, warnings) == (True, [], [])


def test_pixels_without_data_have_no_class(segmenter, noise, write_raster, tmp_path):
    image = noise(150, 200).clip(1)
    image[40:110, 60:170] = 0  # larger than a window
    source = write_raster(tmp_path / 'in.tif', image, nodata=0)
    predict_raster(segmenter, source, tmp_path / 'out.tif', window=32, confidence=tmp_path / 'sure.tif',
                   probabilities=tmp_path / 'all.tif')
    expected = np.where(image.any(-1), segmenter(image), 255)
    np.testing.assert_array_equal(read(tmp_path / 'out.tif'), expected)
    assert (expected == 255).sum() == 70 * 110
    assert (read(tmp_path / 'sure.tif')[expected == 255] == 255).all()


def test_probabilities_are_those_of_the_model(segmenter, noise, write_raster, tmp_path):
    image = noise(100, 130)
    source = write_raster(tmp_path / 'in.tif', image)
    predict_raster(segmenter, source, tmp_path / 'out.tif', window=40, confidence=tmp_path / 'sure.tif',
                   probabilities=tmp_path / 'all.tif')
    expected = segmenter.probabilities([image])[0].numpy()
    with rasterio.open(tmp_path / 'all.tif') as file:
        assert file.descriptions == ('a', 'b', 'c', 'd')
        assert file.nodata == 255
        np.testing.assert_allclose(file.read() * np.array(file.scales)[:, None, None], expected, atol=0.5 / 250 + 1e-6)
    np.testing.assert_allclose(read(tmp_path / 'sure.tif') / 250, expected.max(0), atol=0.5 / 250 + 1e-6)


def test_nothing_but_no_data(segmenter, write_raster, tmp_path):
    source = write_raster(tmp_path / 'in.tif', np.zeros((90, 70, 3), np.uint8), nodata=0)
    segmenter.probabilities = None  # the model is not asked
    predict_raster(segmenter, source, tmp_path / 'out.tif', window=64)
    assert (read(tmp_path / 'out.tif') == 255).all()


@pytest.mark.parametrize('name', ['in.png', 'in.jpg'])
def test_pictures_become_palette_pictures(segmenter, noise, write_image, tmp_path, name):
    source = write_image(tmp_path / name, noise(60, 80))
    with rasterio.open(source) as file:  # decoders of JPEG differ a little
        before = np.moveaxis(file.read(), 0, -1)
    predict_raster(segmenter, source, tmp_path / 'out.png', window=32, settings='made so')
    with Image.open(tmp_path / 'out.png') as picture:
        assert picture.mode == 'P'
        np.testing.assert_array_equal(np.array(picture), segmenter(before))
        assert picture.getpalette()[:6] == [255, 0, 0, 0, 255, 0]
    assert read_settings(tmp_path / 'out.png') == 'made so'
    assert not list(tmp_path.glob('*.xml'))


def test_greys_and_palettes_serve_a_model_of_colours(segmenter, noise, tmp_path):
    grey = Image.fromarray(noise(40, 50)[..., 0])
    palette = Image.fromarray(noise(40, 50)).quantize(16)
    for picture in (grey, palette):
        picture.save(tmp_path / 'in.png')
        predict_raster(segmenter, tmp_path / 'in.png', tmp_path / 'out.tif')
        np.testing.assert_array_equal(read(tmp_path / 'out.tif'), segmenter(np.array(picture.convert('RGB'))))


def test_sixteen_bits_and_four_bands(toy, noise, write_raster, tmp_path):
    segmenter = Segmenter(*toy(4), device='cpu')
    image = noise(50, 60, 4)
    source = write_raster(tmp_path / 'in.tif', image.astype(np.uint16) * 8 + 100, alpha='no')
    with pytest.raises(TileReadError, match='uint16 samples need a scaling to 8 bits'):
        predict_raster(segmenter, source, tmp_path / 'out.tif')
    assert not (tmp_path / 'out.tif').exists()
    predict_raster(segmenter, source, tmp_path / 'out.tif', scaling=BandScaling((100, ) * 4, (100 + 255 * 8, ) * 4))
    np.testing.assert_array_equal(read(tmp_path / 'out.tif'), segmenter(image))


def test_bands_are_chosen_or_asked_for(segmenter, noise, write_raster, tmp_path):
    image = noise(50, 60, 4)
    source = write_raster(tmp_path / 'in.tif', image, photometric='minisblack')
    with pytest.raises(TileReadError, match='in.tif: has 4 bands, the model takes 3; choose them, .*--bands 1 2 3'):
        predict_raster(segmenter, source, tmp_path / 'out.tif')
    predict_raster(segmenter, source, tmp_path / 'out.tif', bands=(4, 2, 1))
    np.testing.assert_array_equal(read(tmp_path / 'out.tif'), segmenter(image[..., [3, 1, 0]]))
    with pytest.raises(TileReadError, match='band 5 is asked for'):
        predict_raster(segmenter, source, tmp_path / 'out.tif', bands=(1, 2, 5))


def test_alpha_is_no_band(segmenter, noise, write_image, tmp_path):
    image = np.concatenate([noise(40, 40), np.full((40, 40, 1), 255, np.uint8)], -1)
    image[:10, :, 3] = 0
    predict_raster(segmenter, write_image(tmp_path / 'in.png', image), tmp_path / 'out.tif')
    expected = segmenter(image[..., :3])
    expected[:10] = 255
    np.testing.assert_array_equal(read(tmp_path / 'out.tif'), expected)


@pytest.mark.parametrize('name', ['in.tif', 'in.png', 'in.jpg'])
def test_truncated_files_leave_nothing(segmenter, noise, write_image, tmp_path, name):
    source = tmp_path / name
    write_image(source, noise(300, 300))
    content = source.read_bytes()
    source.write_bytes(content[:len(content) * 2 // 3])
    target = tmp_path / 'maps/out.tif'
    with pytest.raises(TileReadError, match=name):
        predict_raster(segmenter, source, target, window=64)
    assert not target.exists()
    assert not list((tmp_path / 'maps').glob('*'))


@pytest.mark.parametrize('options, says', [(dict(window=0), 'window 0'), (dict(overlap=0.95), 'overlap 0.95'),
                                           (dict(batch=0), '--batch 0'),
                                           (dict(target='in.tif'), 'overwritten by a map')])
def test_bad_options_touch_nothing(segmenter, noise, write_raster, tmp_path, options, says):
    source = write_raster(tmp_path / 'in.tif', noise(40, 40))
    content = source.read_bytes()
    target = tmp_path / options.pop('target', 'out.tif')
    with pytest.raises(ValueError, match=says):
        predict_raster(segmenter, source, target, **options)
    assert [p.name for p in tmp_path.glob('*.tif')] == ['in.tif'] and source.read_bytes() == content


def test_what_is_held_does_not_grow_with_the_height(segmenter, write_raster, tmp_path, monkeypatch):
    """The largest read and the largest blended array of a raster ten times as high are the same."""
    sizes = []
    read_rows = RasterRows.__call__
    monkeypatch.setattr(RasterRows, '__call__', lambda self, top, height: sizes.append((self.height, height)) or
                        read_rows(self, top, height))
    import torch
    zeros = torch.zeros
    monkeypatch.setattr(torch, 'zeros', lambda *size, **kwargs: sizes.append(('zeros', *size)) or
                        zeros(*size, **kwargs))
    seen = []
    for height in (160, 1600):
        sizes.clear()
        source = write_raster(tmp_path / f'{height}.tif', np.full((height, 96, 3), 7, np.uint8),
                              transform=Affine.identity())
        predict_raster(segmenter, source, tmp_path / 'out.tif', window=64)
        reads = [size[1] for size in sizes if size[0] == height]
        assert sum(reads) == height  # no row is read twice
        seen.append((max(reads), [size for size in sizes if size[:2] == ('zeros', 5)]))  # class scores and weight
    assert seen[0] == seen[1] == (64, [('zeros', 5, 16, 96), ('zeros', 5, 64, 64)])
