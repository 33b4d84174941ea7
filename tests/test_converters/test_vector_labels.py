"""Labels drawn in a GIS: which pixels they become, and bad files by name."""
import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from fake_downloads import picture
from mmengine.config import Config
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import transform

from egmim_mm.converters import label_shapes
from egmim_mm.converters.archives import ConversionError
from egmim_mm.converters.command import print_manifest
from egmim_mm.converters.folder import convert_folder
from egmim_mm.converters.sources import PixelShapes
from egmim_mm.registry import DATASETS

UTM = 'EPSG:32633'
LEFT, TOP, PIXEL = 500_000, 5_800_000, 0.5


def ground(column, row):
    """Coordinates of a place in the image, px from its upper left corner."""
    return LEFT + PIXEL * column, TOP - PIXEL * row


POINT = shapely.Point(ground(30.4, 10.6))
LINE = shapely.LineString([ground(4.5, 20.5), ground(16.5, 20.5)])
FIELD = shapely.box(*ground(4, 36), *ground(12, 26))
DRAWN = [(POINT, 'water'), (LINE, 'road'), (FIELD, 'field')]


def write_labels(path, drawn=DRAWN, crs=UTM, field='class', layer=None, **options):
    shapes, values = zip(*drawn)
    kinds = {shape.geom_type for shape in shapes}
    path.parent.mkdir(parents=True, exist_ok=True)
    with pytest.warns(UserWarning, match="'crs' was not provided") if crs is None else np.errstate():
        pyogrio.raw.write(path, shapely.to_wkb(np.array(shapes, object)), [np.array(values, object)], [field],
                          layer=layer, crs=crs, geometry_type=kinds.pop() if len(kinds) == 1 else 'Unknown', **options)
    return str(path)


@pytest.fixture
def image(tmp_path):
    """Function: write an image of 40 x 48 px (height x width) with a place on the ground; its folder."""

    def write(name='a', left=LEFT, crs=UTM, transform=None):
        (tmp_path / 'in/images').mkdir(parents=True, exist_ok=True)
        pixels = picture(0, 48, 40)
        with rasterio.open(tmp_path / f'in/images/{name}.tif', 'w', driver='GTiff', height=40, width=48, count=3,
                           dtype='uint8', crs=crs, transform=transform or from_origin(left, TOP, PIXEL, PIXEL)) as file:
            file.write(np.moveaxis(pixels[:40, :48], -1, 0))
        return str(tmp_path / 'in')

    return write


@pytest.fixture
def said(monkeypatch):
    """Lines of the log."""
    lines = []
    monkeypatch.setattr(label_shapes, 'print_log', lambda text, **_: lines.append(text))
    return lines


def convert(folder, out, labels, **options):
    return convert_folder(folder, str(out), labels=[labels], **dict(dict(crop=None, stride=None), **options))


def mask(out, name='a'):
    with rasterio.open(out / f'ann_dir/train/{name}.tif') as file:
        return file.read(1)


def expected(radius=2):
    """By distances: classes field 0, road 1, water 2."""
    rows, columns = np.indices((40, 48))
    labels = np.full((40, 48), 255, np.uint8)
    labels[(rows - 10)**2 + (columns - 30)**2 <= radius**2] = 2
    past = np.clip(np.abs(columns - 10) - 6, 0, None)  # beyond the ends of the line
    labels[(rows - 20)**2 + past**2 <= radius**2] = 1
    labels[26:36, 4:12] = 0
    return labels


@pytest.mark.parametrize('ending', ['gpkg', 'geojson', 'fgb'])
def test_points_lines_and_polygons_become_pixels(image, tmp_path, ending):
    labels = write_labels(tmp_path / f'labels.{ending}')
    manifest = convert(image(), tmp_path / 'out', labels)
    assert (mask(tmp_path / 'out') == expected()).all()
    counts = manifest['splits']['train']['class_pixels']['ann_dir']
    assert counts == dict(field=80, road=int((expected() == 1).sum()), water=13)
    with rasterio.open(tmp_path / 'out/ann_dir/train/a.tif') as file:
        assert file.crs == CRS.from_string(UTM) and file.transform == from_origin(LEFT, TOP, PIXEL, PIXEL)


def test_radius_0_is_the_pixel_under_a_point(image, tmp_path):
    labels = write_labels(tmp_path / 'labels.gpkg', DRAWN[:2])
    convert(image(), tmp_path / 'out', labels, radius=0, classes=['road', 'water'])
    found = mask(tmp_path / 'out')
    assert np.argwhere(found == 1).tolist() == [[10, 30]]
    assert set(np.argwhere(found == 0)[:, 0]) == {20} and 12 <= (found == 0).sum() <= 13


def test_another_coordinate_system_is_reprojected(image, tmp_path, said):
    there = shapely.transform(np.array([shape for shape, _ in DRAWN], object),
                              lambda xy: np.column_stack(transform(UTM, 'EPSG:4326', *xy.T)))
    labels = write_labels(tmp_path / 'labels.geojson', list(zip(there, ('water', 'road', 'field'))), 'EPSG:4326')
    image('b')
    convert(image(), tmp_path / 'out', labels)
    assert (mask(tmp_path / 'out') == expected()).all() and (mask(tmp_path / 'out', 'b') == expected()).all()
    assert said == [f'{labels}: labels are reprojected from EPSG:4326 to EPSG:32633']


def test_an_image_turned_on_the_ground(image, tmp_path):
    turned = from_origin(LEFT, TOP, PIXEL, PIXEL) * rasterio.Affine.rotation(30)
    at = turned * (30.4, 10.6)
    convert(image(transform=turned), tmp_path / 'out', write_labels(tmp_path / 'a.gpkg', [(shapely.Point(at), 'x')]))
    assert ((mask(tmp_path / 'out') == 0) == (expected() == 2)).all()


def test_later_features_win_and_their_overlap_is_told(image, tmp_path, capsys):
    below = shapely.box(*ground(0, 40), *ground(20, 30))
    labels = write_labels(tmp_path / 'labels.gpkg', [*DRAWN, (below, 'road'), (below, 'road')])
    manifest = convert(image(), tmp_path / 'out', labels)
    assert (mask(tmp_path / 'out')[30:, :20] == 1).all() and manifest['splits']['train']['overlapped'] == 6 * 8
    print_manifest(manifest, 'out')
    assert 'train: labels of several classes lie on 48 px; the later one won' in capsys.readouterr().out


def test_layers_and_files_come_one_after_the_other(image, tmp_path):
    first = write_labels(tmp_path / 'a.gpkg', DRAWN[:1], layer='points')
    write_labels(tmp_path / 'a.gpkg', DRAWN[2:], layer='areas', append=True)
    second = write_labels(tmp_path / 'b.shp', [(LINE, 'road')])
    manifest = convert_folder(image(), str(tmp_path / 'out'), labels=[first, second], crop=None, stride=None)
    assert manifest['settings']['classes'] == ['field', 'road', 'water']
    assert (mask(tmp_path / 'out') == expected()).all()


def test_names_numbers_and_ignored_values(image, tmp_path):
    shapes = [shape for shape, _ in DRAWN]
    pyogrio.raw.write(tmp_path / 'a.gpkg', shapely.to_wkb(np.array(shapes, object)), [np.array([7.0, 3.0, 12.0])],
                      ['code'], geometry_type='Unknown', crs=UTM)
    options = dict(class_field='code', ignore=['7'])
    manifest = convert(image(), tmp_path / 'out', str(tmp_path / 'a.gpkg'), classes=['field=12', 'road=3'], **options)
    assert (mask(tmp_path / 'out') == np.where(expected() == 2, 255, expected())).all()
    assert manifest['settings']['values'] == ['12', '3'] and manifest['settings']['classes'] == ['field', 'road']
    manifest = convert(image(), tmp_path / 'sorted', str(tmp_path / 'a.gpkg'), class_field='code')
    assert manifest['settings']['classes'] == ['3', '7', '12']


def test_tiles_without_a_label_are_unlabelled(image, tmp_path, request):
    image('b', LEFT + 100)
    labels = write_labels(tmp_path / 'labels.gpkg', [*DRAWN, (shapely.Point(ground(200 + 3, 3)), 'road')])
    out = tmp_path / 'out'
    manifest = convert(image(), out, labels, crop=20, stride=20, val=['b'])
    names = {folder: sorted(path.stem for path in (out / folder).glob('*')) for folder in (
        'img_dir/train', 'ann_dir/train', 'img_dir/unlabeled', 'img_dir/val', 'ann_dir/val')}
    labelled = ['a_0_0_20_20', 'a_0_20_20_40', 'a_20_0_40_20', 'a_28_0_48_20']
    assert names['img_dir/train'] == names['ann_dir/train'] == labelled
    assert names['img_dir/unlabeled'] == ['a_20_20_40_40', 'a_28_20_48_40']
    assert names['img_dir/val'] == names['ann_dir/val'] == ['b_0_0_20_20']  # the others would judge nothing
    splits = manifest['splits']
    assert [splits[name]['tiles'] for name in ('train', 'unlabeled', 'val')] == [4, 2, 1]
    assert splits['val']['blank'] == 5

    text = (out / 'dataset_config.py').read_text()
    base = request.config.rootpath / 'configs/_base_/datasets/segmentation.py'
    (out / 'dataset_config.py').write_text(text.replace('./segmentation.py', str(base)))
    cfg = Config.fromfile(out / 'dataset_config.py')
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=cfg.train_pipeline))
    assert dataset.unlabelled_numbers(range(4)) == [8, 9] and len(dataset[8]['inputs']) == 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.tif')}
    convert(image(), out, labels, crop=20, stride=20, val=['b'])  # all is there
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.tif')} == before
    with pytest.raises(ConversionError, match="other settings .labels was .*'radius': 2.0.* choose another --out"):
        convert(image(), out, labels, crop=20, stride=20, val=['b'], radius=3)


def test_labels_beyond_the_images(image, tmp_path, said):
    far = shapely.Point(ground(1000, 10)), 'water'
    labels = write_labels(tmp_path / 'some.gpkg', [*DRAWN, far])
    convert(image(), tmp_path / 'out', labels)
    assert said == [f'{labels}: 1 of 4 features lie on no image and are left out']
    assert (mask(tmp_path / 'out') == expected()).all()
    labels = write_labels(tmp_path / 'all.gpkg', [far, far])
    with pytest.raises(ConversionError, match='all.gpkg: all 2 features lie outside of the 1 images'):
        convert(image(), tmp_path / 'other', labels)
    assert not (tmp_path / 'other').exists()
    degrees = write_labels(tmp_path / 'metres.geojson', DRAWN, 'EPSG:4326')  # metres that pass for degrees
    with pytest.raises(ConversionError, match='metres.geojson: coordinates that are none of EPSG:4326 .*Invalid lat'):
        convert(image(), tmp_path / 'other', degrees)


def test_labels_on_pixels_without_data(image, tmp_path):
    folder = image()
    with rasterio.open(tmp_path / 'in/images/a.tif', 'r+') as file:
        file.write(np.zeros((3, 40, 48), np.uint8))
    labels = write_labels(tmp_path / 'labels.gpkg')
    with pytest.raises(ConversionError, match='no tile of the 1 images holds'):
        convert(folder, tmp_path / 'out', labels, nodata=0)


@pytest.mark.parametrize(('drawn', 'options', 'says'), [
    (DRAWN, dict(classes=['field', 'road']), "features of the class 'water', which is not listed; --classes are field"),
    (DRAWN, dict(classes=['field', 'road', 'road=water']), 'every class needs a name of its own'),
    (DRAWN, dict(classes=['a=road', 'b=road', 'c=water', 'd=field']), 'each with a value of its own'),
    (DRAWN, dict(class_field='kind'), "has no field 'kind'; its fields are class: name the one .* --class-field NAME"),
    (DRAWN, dict(radius=-1.0), '--radius -1 must be 0 px or more'),
    (DRAWN, dict(unlabeled=True, tolerance=3.0), '--tolerance, --unlabeled: about masks, which --labels replaces'),
    ([(POINT, 'water'), (LINE, None)], {}, "1 of 2 features have no 'class', feature 2 the first"),
    ([(shapely.GeometryCollection([POINT]), 'water')], {}, 'feature 1 is a GeometryCollection, which cannot be burnt'),
])
def test_bad_labels(image, tmp_path, drawn, options, says):
    labels = write_labels(tmp_path / 'labels.gpkg', drawn)
    with pytest.raises(ConversionError, match=says):
        convert(image(), tmp_path / 'out', labels, **options)
    assert not (tmp_path / 'out').exists()


def test_bad_files(image, tmp_path, write_image):
    def fails(labels, folder=None):
        with pytest.raises(ConversionError) as caught:
            convert(folder or image(), tmp_path / 'out', str(labels))
        return str(caught.value)

    (tmp_path / 'zero.gpkg').write_bytes(b'')
    assert 'zero.gpkg: labels that cannot be read' in fails(tmp_path / 'zero.gpkg')
    assert 'none.gpkg: labels that cannot be read' in fails(tmp_path / 'none.gpkg')
    (tmp_path / 'empty.geojson').write_text(json.dumps(dict(type='FeatureCollection', features=[])))
    assert 'empty.geojson: holds no feature; draw some' in fails(tmp_path / 'empty.geojson')
    assert 'bare.gpkg: has no coordinate system, and' in fails(write_labels(tmp_path / 'bare.gpkg', crs=None))
    shape = dict(type='Feature', properties={'class': 'x'}, geometry=None)
    (tmp_path / 'no.geojson').write_text(json.dumps(dict(type='FeatureCollection', features=[shape])))
    assert 'no.geojson: feature 1 has no geometry' in fails(tmp_path / 'no.geojson')
    write_image(tmp_path / 'plain/images/b.png', picture(0, 20, 20))
    labels = write_labels(tmp_path / 'labels.gpkg')
    assert 'b.png: has no place on the ground' in fails(labels, str(tmp_path / 'plain'))
    with pytest.raises(ConversionError, match='--radius: about --labels, which is not given'):
        convert_folder(image(), str(tmp_path / 'out'), radius=0)


def test_shapes_of_several_parts_and_what_is_cut_off():
    points = shapely.MultiPoint([(0.5, 0.5), (5.5, 3.5), (50, 50)])
    bow = shapely.Polygon([(2, 4), (4, 6), (4, 4), (2, 6)])
    shapes = PixelShapes(np.array([points, bow, shapely.Point()], object), np.array([1, 0, 2], np.uint8), 1.0)
    labels, overlapped = label_shapes.burn_shapes(shapes, (6, 7))
    near = np.zeros((6, 7), bool)
    near[[0, 0, 1, 3, 3, 3, 2, 4], [0, 1, 0, 4, 5, 6, 5, 5]] = True
    assert ((labels == 1) == near).all() and overlapped == 0 and 0 < (labels == 0).sum() <= 4
