"""Polygons of a map: rasterised again they are the map, and their areas and place are right."""
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import Affine

from egmim_mm.inference import polygons, write_polygons
from egmim_mm.inference.polygons import read_polygon_settings

NAMES = ('a', 'b', 'c', 'd')


def read(path):
    """Description of the layer, WKB polygons, class numbers and names."""
    layer, _, outlines, (numbers, names) = pyogrio.raw.read(path)
    return layer, shapely.from_wkb(outlines), numbers, names


@pytest.fixture
def classes():
    """(90, 130) uint8: regions with holes, single pixels, corners that touch, no data."""
    rng = np.random.default_rng(0)
    regions = rng.integers(0, 4, (9, 13), np.uint8).repeat(10, 0).repeat(10, 1)
    regions[20:60, 20:70] = 2
    regions[30:40, 30:50] = 1  # a hole
    regions[:20, :5] = 255
    speckle = rng.random(regions.shape) < 0.02
    regions[speckle] = rng.integers(0, 4, speckle.sum())
    return regions


def test_polygons_are_the_map(classes, write_raster, tmp_path, monkeypatch):
    monkeypatch.setattr(polygons, 'CHUNK', 37)  # several of them
    source = write_raster(tmp_path / 'map.tif', classes, nodata=255)
    count = write_polygons(source, tmp_path / 'out/map.gpkg', NAMES, 'made so')
    assert read_polygon_settings(tmp_path / 'out/map.gpkg') == 'made so'
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['map.gpkg']
    layer, outlines, numbers, names = read(tmp_path / 'out/map.gpkg')
    with rasterio.open(source) as file:
        again = rasterize(zip(outlines, numbers), classes.shape, fill=255, transform=file.transform, dtype='uint8')
        pixel = abs(file.transform.determinant)
        assert layer['crs'] == 'EPSG:32632' == file.crs.to_string()
        assert file.transform.b == pytest.approx(0.1)  # rotated
    np.testing.assert_array_equal(again, classes)
    assert count == len(outlines) > 2 * 37 and shapely.is_valid(outlines).all()
    assert list(names) == [NAMES[number] for number in numbers]
    for number in range(4):
        assert shapely.area(outlines[numbers == number]).sum() == pytest.approx(pixel * (classes == number).sum())
    assert (layer['geometry_type'], list(layer['fields'])) == ('Polygon', ['class', 'name'])
    assert pyogrio.list_layers(tmp_path / 'out/map.gpkg')[:, 0].tolist() == ['map']


@pytest.mark.parametrize('name', ['map.tif', 'map.png'])
def test_without_a_place_coordinates_are_pixels(classes, write_image, tmp_path, name, recwarn):
    source = write_image(tmp_path / name, classes)
    write_polygons(source, tmp_path / 'map.gpkg', NAMES)
    layer, outlines, numbers, _ = read(tmp_path / 'map.gpkg')
    assert 'undefined' in (layer['crs'] or 'undefined').lower()
    again = rasterize(zip(outlines, numbers), classes.shape, fill=255, transform=Affine.identity(), dtype='uint8')
    np.testing.assert_array_equal(again, classes)
    assert not [w for w in recwarn if 'crs' in str(w.message) or 'geotransform' in str(w.message)]


def test_a_map_of_nothing_becomes_an_empty_layer(write_raster, tmp_path):
    source = write_raster(tmp_path / 'map.tif', np.full((20, 30), 255, np.uint8), nodata=255)
    assert write_polygons(source, tmp_path / 'map.gpkg', NAMES, 'made so') == 0
    layer, outlines, _, _ = read(tmp_path / 'map.gpkg')
    assert len(outlines) == 0 and list(layer['fields']) == ['class', 'name']
    assert read_polygon_settings(tmp_path / 'map.gpkg') == 'made so'


def test_failures_leave_nothing_and_keep_what_was_there(classes, write_raster, tmp_path):
    source, target = write_raster(tmp_path / 'map.tif', classes, nodata=255), tmp_path / 'out/map.gpkg'
    with pytest.raises(ValueError, match='the map has class 3, but there are 3 names'):
        write_polygons(source, target, NAMES[:3])
    assert not list((tmp_path / 'out').iterdir())
    write_polygons(source, target, NAMES)
    content = target.read_bytes()
    with pytest.raises(ValueError, match='class 3'):
        write_polygons(source, target, NAMES[:3])
    assert target.read_bytes() == content and len(list((tmp_path / 'out').iterdir())) == 1
    assert read_polygon_settings(tmp_path / 'nowhere.gpkg') is None
    assert read_polygon_settings(source) is None
