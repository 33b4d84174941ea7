"""The kinds of faults that real files bring, on files that others made; test_real_files.py makes its own."""
import shutil

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from toy_scenes import classes_of, convert, converted, read_raster

from egmim_mm.converters.archives import ConversionError
from egmim_mm.datasets import RasterCrops
from egmim_mm.storage.band_scaling import measure_bands
from egmim_mm.storage.raster_rows import RasterRows
from egmim_mm.storage.rasters import open_raster, read_samples
from egmim_mm.storage.tile_reading import TileReadError


def rows_of(path, number=3, **options):
    with RasterRows(str(path), number, **options) as rows:
        return rows(0, rows.height)


def kind_world_file(case, root):
    convert(root)
    with rasterio.open(root / 'out/img_dir/train/top_potsdam_2_10_RGB.tif') as tile:
        assert tile.transform == Affine(0.05, 0, 366676.6, 0, -0.05, 5808285.800000001)
    picture, label = converted(root, 'top_potsdam_2_10_RGB')
    assert (classes_of(picture) == label).mean() > 0.999


def kind_aux_xml(case, root):
    pixels, valid = rows_of(case / 'scene.tif')
    assert valid.mean() == pytest.approx(2 / 3, abs=0.01) and not pixels[~valid].any()
    with open_raster(case / 'scene.tif') as source:
        assert source.crs.to_epsg() == 32632


def kind_formats(case, root):
    dataset = RasterCrops(str(case), crop_size=64, cache_dir=None)
    assert sorted(entry['img_path'].rsplit('.')[-1] for entry in dataset.load_data_list()) == ['img', 'jp2']


def kind_four_bands(case, root):
    water = read_raster(case / 'masks/naip.tif')[..., 0] == 0
    for name in ('naip', 'naip_nodata0'):
        assert rows_of(case / f'{name}.tif', bands=[4, 1, 2])[1].all()
    assert rows_of(case / 'naip_nodata0.tif', bands=[1, 2, 3])[1].all()
    assert (rows_of(case / 'naip.tif')[1] == ~water).all()  # tagged alpha: the user says otherwise
    assert rows_of(case / 'naip.tif', nodata='none')[1].all()


def kind_nan(case, root):
    for name in ('a_nan_notag', 'b_nan_tag', 'e_nan_oneband'):
        measured = measure_bands([str(case / f'{name}.tif')])
        with open_raster(case / f'{name}.tif') as source:
            missing = np.isnan(source.read()).any(axis=0)
            assert (read_samples(source, [1, 2, 3])[1] == ~missing).all() and missing.mean() > 0.3
        assert all(0 < band['low'] < band['high'] < 1 for band in measured['bands'])


def kind_int16_m1(case, root, ignore=('-1', )):
    convert(root, ignore=ignore)
    picture, label = converted(root)
    raw = read_raster(root / 'masks/a.tif')[..., 0]
    assert (label == 255).mean() == np.isin(raw, (-1, 250)).mean() > 0.1
    assert (classes_of(picture)[label < 255] == label[label < 255]).mean() > 0.999


def kind_u8_nodata250(case, root):
    kind_int16_m1(case, root, ignore=())


def kind_float32_plain(case, root):
    convert(root)
    picture, label = converted(root)
    assert (classes_of(picture) == label).mean() > 0.999


def kind_empty_tiles(case, root):
    manifest = convert(root, crop=150, stride=150, unlabeled=True)
    assert manifest['splits']['train']['empty'] > 0
    for path in (root / 'out/img_dir').rglob('*.tif'):
        with rasterio.open(path) as tile:
            valid = tile.dataset_mask() > 0
            assert valid.any() and (tile.nodata == 0 or valid.all() or 'unlabeled' in path.parts)
        if 'train' in path.parts:
            label = read_raster(str(path).replace('img_dir', 'ann_dir'))[..., 0]
            assert (label[~valid] == 255).all() and (label[valid] < 255).all()
    assert manifest['splits']['unlabeled']['empty'] == 4


def kind_label_shift(case, root):
    convert(root)
    picture, label = converted(root)
    assert (label == 255).mean() == pytest.approx(20 / 300, abs=0.005)
    assert (classes_of(picture)[label < 255] == label[label < 255]).mean() > 0.999


def kind_label_southup(case, root):
    convert(root)
    picture, label = converted(root)
    assert (classes_of(picture) == label).mean() > 0.999


def kind_label_crs(case, root):
    with pytest.raises(ConversionError, match='masks/a.tif: lies elsewhere than its image'):
        convert(root)


def kind_vrt(case, root):
    convert(root)
    picture, label = converted(root)
    assert (classes_of(picture) == label).mean() > 0.999
    (root / 'bands/B03.tif').unlink()
    with pytest.raises(ConversionError, match='a.vrt: is made of .*B03.tif, which does not exist'):
        convert(root, overwrite=True)


def kind_envi(case, root):
    convert(root)
    picture, label = converted(root)
    assert (classes_of(picture) == label).mean() > 0.999


def kind_grey_among_rgb(case, root):
    with pytest.raises(TileReadError, match='grey.tif: gives 1 bands, .*bigtiff.tif 3'):
        RasterCrops(str(case), crop_size=64, cache_dir=None)


@pytest.mark.parametrize('name', [
    '01_world_file', '03_aux_xml', '04_formats', '05_four_bands', '06_nan', '07_int16_m1', '07_float32_plain',
    '07_u8_nodata250', '08_empty_tiles', '09_label_shift', '09_label_southup', '09_label_crs', '16_vrt', '16_envi',
    '17_grey_among_rgb'])
def test_kind(shared_data, tmp_path, name):
    case = shared_data / 'cases' / name
    if not case.is_dir():
        pytest.skip(f'{case} is not there')
    root = tmp_path / name
    shutil.copytree(case, root)
    for path in root.rglob('*'):
        path.chmod(0o755 if path.is_dir() else 0o644)
    before = sorted(case.rglob('*'))
    globals()[f'kind_{name[3:]}'](case, root)
    assert sorted(case.rglob('*')) == before
