"""Which pixels hold data, what stands beside a raster, and which files a scaling is for."""
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from toy_scenes import scene, write_raster

from egmim_mm.datasets import UnlabeledTiles
from egmim_mm.records.provenance import write_json
from egmim_mm.storage.band_scaling import load_scaling, measure_bands
from egmim_mm.storage.raster_rows import RasterRows
from egmim_mm.storage.rasters import find_rasters, open_raster, parse_nodata, read_samples
from egmim_mm.storage.tile_pairs import check_pair_size
from egmim_mm.storage.tile_reading import TileReadError


def test_a_value_is_no_data_only_in_all_of_the_chosen_bands(tmp_path):
    image, labels = scene()
    infrared = np.where(labels == 0, 0, 120).astype(np.uint8)  # water swallows near infrared
    path = write_raster(tmp_path / 'a.tif', np.dstack([image, infrared]), nodata=0, photometric='MINISBLACK')
    for bands in ([1, 2, 3], [4, 1, 2]):
        with RasterRows(str(path), 3, bands) as rows:
            assert rows(0, 64)[1].all()
    with RasterRows(str(path), 1, [4]) as rows:
        assert (rows(0, 64)[1] == (labels > 0)).all()
    alpha = write_raster(tmp_path / 'alpha.tif', np.dstack([image, infrared]))  # GDAL takes a fourth band for alpha
    with RasterRows(str(alpha), 3, [1, 2, 3]) as rows:
        assert (rows(0, 64)[1] == (labels > 0)).all()
    with RasterRows(str(alpha), 3, [4, 1, 2]) as rows:  # it was asked for as an image
        assert rows(0, 64)[1].all()


def test_nan_is_no_data_always_and_the_user_is_above_the_file(tmp_path):
    image = scene()[0].astype(np.float32)
    image[:, :16, 1] = np.nan
    path = str(write_raster(tmp_path / 'a.tif', image))
    measured = measure_bands([path])
    assert measured['dtype'] == 'float32' and measured['pixels'] % 48 == 0
    with open_raster(path) as source:
        for nodata in (None, 'none'):
            assert (read_samples(source, [1, 2, 3], nodata=nodata)[1] == ~np.isnan(image[..., 1])).all()
        assert read_samples(source, [1, 3])[1].all()
        assert not read_samples(source, [1], nodata=float(image[40, 40, 0]))[1][40, 40]
    tagged = str(write_raster(tmp_path / 'b.tif', np.zeros((8, 8, 3), np.uint8), nodata=0))
    with RasterRows(tagged, 3) as rows, RasterRows(tagged, 3, nodata='none') as all_data:
        assert not rows(0, 8)[1].any() and all_data(0, 8)[1].all()


def test_a_mask_inside_or_beside_the_file_counts(tmp_path):
    image, labels = scene()
    inside = labels != 2
    for name, internal in (('a.tif', 'YES'), ('b.tif', 'NO')):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
            path = write_raster(tmp_path / name, image, mask=inside)
        with RasterRows(str(path), 3) as rows:
            assert (rows(0, 64)[1] == inside).all()
    assert (tmp_path / 'b.tif.msk').exists()


def test_missing_companions_are_named(tmp_path):
    image, _ = scene()
    write_raster(tmp_path / 'a.dat', image, driver='ENVI')
    (tmp_path / 'a.hdr').unlink()
    with pytest.raises(TileReadError, match=r'a\.dat: not a raster.*need their header a\.hdr beside them'):
        open_raster(tmp_path / 'a.dat')
    part = write_raster(tmp_path / 'B02.tif', image[..., :1])
    (tmp_path / 'v.vrt').write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">B02.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        '</VRTRasterBand></VRTDataset>')
    with open_raster(tmp_path / 'v.vrt') as source:
        assert (source.read(1) == image[..., 0]).all()
    part.unlink()
    with pytest.raises(TileReadError, match=r'v\.vrt: is made of .*B02\.tif, which does not exist'):
        open_raster(tmp_path / 'v.vrt')


def test_a_scaling_is_for_its_bands_and_its_type(tmp_path):
    image = scene()[0]
    sixteen = write_raster(tmp_path / 'deep/a.tif', np.dstack([image, image[..., :1]]).astype(np.uint16) * 9,
                    photometric='MINISBLACK')
    eight = write_raster(tmp_path / 'flat/b.tif', image)
    write_json(tmp_path / 'bands.json', measure_bands([str(sixteen)], bands=[4, 2, 1]))
    scaling = load_scaling(str(tmp_path / 'bands.json'))
    assert (scaling.bands, scaling.dtype) == ((4, 2, 1), 'uint16')
    rows = [RasterRows(str(sixteen), 3, bands, scaling)(0, 64)[0] for bands in (None, [4, 2, 1])]
    assert (rows[0] == rows[1]).all()
    with pytest.raises(TileReadError, match='a.tif: the scaling was measured on the bands 4 2 1, not on 1 2 3; '):
        RasterRows(str(sixteen), 3, [1, 2, 3], scaling)
    write_json(tmp_path / 'three.json', measure_bands([str(sixteen)], bands=[3, 2, 1]))
    with pytest.raises(TileReadError, match='b.tif: has uint8 samples, the scaling was measured on uint16'):
        RasterRows(str(eight), 3, scaling=load_scaling(str(tmp_path / 'three.json')))
    with pytest.raises(TileReadError, match='b.tif: has the bands 1 2 3 of uint8, .*a.tif 1 2 3 of uint16; measure'):
        measure_bands([str(sixteen), str(eight)], bands=[1, 2, 3])


def test_tiles_that_are_read_as_they_are_must_lie_in_one_place(tmp_path):
    image, labels = scene()
    pair = [str(write_raster(tmp_path / name, pixels)) for name, pixels in (('a.tif', image), ('b.tif', labels))]
    check_pair_size(*pair)
    for changes in (dict(crs='EPSG:32633'), dict(transform=from_origin(400_010, 5_700_000, 0.5, 0.5)),
                    dict(transform=Affine(0.5, 0, 400_000, 0, 0.5, 5_699_968))):
        write_raster(tmp_path / 'b.tif', labels, **changes)
        with pytest.raises(TileReadError, match='b.tif: the mask does not lie where its image .*a.tif does'):
            check_pair_size(*pair)
    write_raster(tmp_path / 'b.tif', labels, crs=None, transform=None)  # without a place the size decides
    check_pair_size(*pair)


def test_what_counts_as_a_raster_in_a_folder(tmp_path):
    for name, driver in (('a.tif', 'GTiff'), ('sub/b.IMG', 'HFA'), ('c.dat', 'ENVI')):
        write_raster(tmp_path / name, scene()[0], driver=driver)
    for name in ('a.tfw', 'a.tif.aux.xml', 'table.dat', 'raw.raw', 'notes.txt', 'labels.gpkg', '.hidden.tif'):
        (tmp_path / name).write_bytes(b'x')
    rasters, others = find_rasters(tmp_path)
    assert rasters == ['a.tif', 'c.dat', 'sub/b.IMG']
    assert others == ['labels.gpkg', 'notes.txt', 'raw.raw', 'table.dat']


def test_rasters_that_pillow_does_not_read_are_named(tmp_path):
    write_raster(tmp_path / 'a.img', scene()[0], driver='HFA')
    with pytest.raises(FileNotFoundError, match='it holds rasters such as a.img, which egmim_mm.RasterCrops reads'):
        UnlabeledTiles(str(tmp_path))


def test_what_a_user_writes_for_no_data():
    assert [parse_nodata(text) for text in ('0', '-9999.5', 'None', None)] == [0, -9999.5, 'none', None]
    with pytest.raises(ValueError, match="--nodata black: give a number, or 'none'"):
        parse_nodata('black')
