"""Situations that real files bring: each ends in the right values, or in one line that names the file."""
import shutil

import numpy as np
import pytest
import rasterio
from mmengine.config import Config
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform as project
from toy_scenes import CLASSES, COLORS, PLACE, convert, converted, scene, write_raster

from egmim_mm.converters import folder as folder_converter
from egmim_mm.converters.archives import ConversionError
from egmim_mm.converters.command import print_manifest
from egmim_mm.datasets import RasterCrops, SegmentationTiles
from egmim_mm.datasets.plain_tiles import dataset_tiles
from egmim_mm.storage.rasters import open_raster
from egmim_mm.storage.tile_reading import TileReadError

# --- what stands beside a raster --------------------------------------------------------------------------------------

def test_side_files_are_read_and_none_is_written(tmp_path):
    image, labels = scene()
    for below, pixels in (('images', image), ('masks', labels)):
        path = write_raster(tmp_path / below / 'a.tif', pixels, crs=None, transform=None)
        path.with_suffix('.tfw').write_text('0.5\n0\n0\n-0.5\n400000.25\n5699999.75\n')
    (tmp_path / 'images/a.tif.aux.xml').write_text(
        '<PAMDataset><SRS>EPSG:32632</SRS>' + ''.join(
            f'<PAMRasterBand band="{b}"><NoDataValue>0</NoDataValue></PAMRasterBand>' for b in (1, 2, 3))
        + '</PAMDataset>')
    before = sorted(tmp_path.rglob('*'))
    with open_raster(tmp_path / 'images/a.tif') as source:
        assert source.crs.to_epsg() == 32632 and source.transform == PLACE['transform'] and source.nodata == 0
    convert(tmp_path, crop=32, stride=32)
    with rasterio.open(tmp_path / 'out/img_dir/train/a_32_0_64_32.tif') as tile:
        assert tile.transform == from_origin(400_016, 5_700_000, 0.5, 0.5) and tile.crs.to_epsg() == 32632
        assert tile.nodata == 0
    assert [path for path in sorted(tmp_path.rglob('*')) if 'out' not in path.parts] == before


def test_every_format_counts_and_the_rest_is_listed(tmp_path, monkeypatch):
    image, labels = scene()
    for name, driver in (('a.img', 'HFA'), ('b.dat', 'ENVI'), ('c.tif', 'GTiff')):
        write_raster(tmp_path / 'images' / name, image, driver=driver)
        write_raster(tmp_path / f'masks/{name[0]}.tif', labels)
    (tmp_path / 'images/notes.docx').write_bytes(b'x')
    lines = []
    monkeypatch.setattr(folder_converter, 'print_log', lambda text, **_: lines.append(text))
    assert convert(tmp_path)['splits']['train']['images'] == 3
    assert len(lines) == 1 and 'images/notes.docx' in lines[0]
    for name in 'abc':
        picture, label = converted(tmp_path, name)
        assert (picture == image).all() and (label == labels).all()


# --- converters: empty tiles, labels ----------------------------------------------------------------------------------

def test_tiles_without_data_are_not_written_and_labels_there_are_unlabelled(tmp_path, capsys):
    image, labels = scene()
    image[:, :40] = 0
    write_raster(tmp_path / 'images/a.tif', image, nodata=0)
    write_raster(tmp_path / 'masks/a.tif', labels)
    manifest = convert(tmp_path, crop=32, stride=32)
    assert sorted(path.name for path in (tmp_path / 'out/img_dir/train').iterdir()) == [
        'a_32_0_64_32.tif', 'a_32_32_64_64.tif']
    picture, label = converted(tmp_path, 'a_32_0_64_32')
    assert (label[:, :8] == 255).all() and (label[:, 8:] == labels[:32, 40:]).all()
    with rasterio.open(tmp_path / 'out/img_dir/train/a_32_0_64_32.tif') as tile:
        assert tile.nodata == 0
    assert manifest['splits']['train']['empty'] == 2
    print_manifest(manifest, 'out')
    assert 'train: 2 tiles with too little data were left out' in capsys.readouterr().out
    shutil.rmtree(tmp_path / 'out')
    with pytest.raises(ConversionError, match='no tile of the 1 images holds data, .*a.tif the first.*--nodata'):
        convert(tmp_path, crop=32, stride=32, min_valid=0.8)
    shutil.rmtree(tmp_path / 'out')
    assert convert(tmp_path, crop=32, stride=32, nodata='none')['splits']['train']['tiles'] == 4


def test_a_mask_of_the_image_is_kept_in_its_tiles(tmp_path):
    image, labels = scene()
    inside = np.ones((64, 64), bool)
    inside[:, :40] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK='YES'):
        write_raster(tmp_path / 'images/a.tif', image, mask=inside)
    write_raster(tmp_path / 'masks/a.tif', labels)
    convert(tmp_path, crop=32, stride=32)
    with rasterio.open(tmp_path / 'out/img_dir/train/a_32_0_64_32.tif') as tile:
        assert ((tile.dataset_mask() > 0) == inside[:32, 32:]).all()
        assert (np.moveaxis(tile.read(), 0, -1) == image[:32, 32:]).all()


def shifted(labels):
    """The labels 4 px further left: their file begins 2 m further east."""
    return labels[:, 4:], from_origin(400_002, 5_700_000, 0.5, 0.5)


@pytest.mark.parametrize('kind', ['shifted', 'south-up', 'finer'])
def test_labels_are_put_where_they_lie(tmp_path, kind):
    image, labels = scene()
    expected = labels.copy()
    if kind == 'shifted':
        mask, transform = shifted(labels)
        expected[:, :4] = 255
    elif kind == 'south-up':
        mask, transform = labels[::-1], Affine(0.5, 0, 400_000, 0, 0.5, 5_700_000 - 32)
    else:
        mask, transform = np.kron(labels, np.ones((2, 2), np.uint8)), from_origin(400_000, 5_700_000, 0.25, 0.25)
    write_raster(tmp_path / 'images/a.tif', image)
    write_raster(tmp_path / 'masks/a.tif', np.ascontiguousarray(mask), transform=transform)
    manifest = convert(tmp_path)
    assert (converted(tmp_path)[1] == expected).all()
    note, = manifest['splits']['train']['notes']
    assert note.startswith('labels were resampled to the grid of their image; they cover')


def test_labels_of_another_system_are_reprojected_and_far_ones_refused(tmp_path):
    image, _ = scene()
    left, top = 400_000, 5_700_000
    xs, ys = project('EPSG:32632', 'EPSG:32633', [left, left + 32], [top, top - 32])
    # a wide field in the next zone, split where the middle of the image lies
    half = np.zeros((400, 400), np.uint8)
    corner = from_origin(np.mean(xs) - 100, np.mean(ys) + 100, 0.5, 0.5)
    half[:, 200:] = 2
    write_raster(tmp_path / 'images/a.tif', image)
    write_raster(tmp_path / 'masks/a.tif', half, crs='EPSG:32633', transform=corner)
    manifest = convert(tmp_path)
    label = converted(tmp_path)[1]
    assert (label[28:36, :24] == 0).all() and (label[28:36, 40:] == 2).all()
    assert 'from EPSG:32633 to EPSG:32632' in next(iter(manifest['splits']['train']['notes']))
    write_raster(tmp_path / 'masks/a.tif', half, crs='EPSG:32633')  # the numbers of zone 32 under the name of zone 33
    shutil.rmtree(tmp_path / 'out')
    with pytest.raises(ConversionError, match=r'masks/a.tif: lies elsewhere than its image .*EPSG:32633.*EPSG:32632'):
        convert(tmp_path)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind, options', [('int16', dict(ignore=['-1'])), ('int16', dict(nodata_tag=-1)),
                                           ('float32', dict(nodata_tag=-9999)), ('float32', dict(nan=True)),
                                           ('uint8', dict(nodata_tag=250)), ('int64', dict(ignore=['-1']))])
def test_whole_numbers_of_any_type_are_labels(tmp_path, kind, options):
    image, labels = scene()
    tag, ignore = options.get('nodata_tag'), options.get('ignore', ())
    unlabelled = np.nan if options.get('nan') else tag if tag is not None else -1
    mask = np.where(labels == 1, unlabelled, labels.astype(float)).astype(kind)
    write_raster(tmp_path / 'images/a.tif', image)
    write_raster(tmp_path / 'masks/a.tif', mask, nodata=tag)
    convert(tmp_path, ignore=ignore)
    assert (converted(tmp_path)[1] == np.where(labels == 1, 255, labels)).all()
    if kind != 'int64':  # a TIFF that Pillow does not read
        tiles = SegmentationTiles(str(tmp_path), img_suffix='.tif', seg_map_suffix='.tif', metainfo=dict(
            classes=CLASSES), ignore_values=[int(value) for value in ignore])
        assert tiles.class_pixels().tolist() == [[(labels == 0).sum(), 0, (labels == 2).sum()]]


def test_a_class_that_is_also_the_no_data_tag_stays_a_class_and_is_reported(tmp_path):
    image, labels = scene()
    write_raster(tmp_path / 'images/a.tif', image)
    write_raster(tmp_path / 'masks/a.tif', labels, nodata=0)
    manifest = convert(tmp_path)
    assert (converted(tmp_path)[1] == labels).all()
    assert 'no-data tag 0, which --classes names: it is a class' in next(iter(manifest['splits']['train']['notes']))


def test_parts_of_numbers_are_no_labels(tmp_path):
    image, labels = scene()
    write_raster(tmp_path / 'images/a.tif', image)
    write_raster(tmp_path / 'masks/a.tif', labels.astype(np.float32) + 0.25)
    with pytest.raises(ConversionError, match='masks/a.tif: mask samples of type float32 that are no whole numbers, '
                       r'such as \d.25'):
        convert(tmp_path)


# --- scalings, bands, settings ----------------------------------------------------------------------------------------

def test_a_scale_is_for_one_type_of_samples(tmp_path):
    image, labels = scene()
    for name, pixels in (('a', image.astype(np.uint16) * 9), ('b', image)):
        write_raster(tmp_path / f'images/{name}.tif', pixels)
        write_raster(tmp_path / f'masks/{name}.tif', labels)
    with pytest.raises(ConversionError, match='images/b.tif has uint8 samples, .*a.tif uint16: one --scale is for one'):
        convert(tmp_path, scale=(0.0, 2000.0))


def test_an_output_is_claimed_by_its_first_tile(tmp_path):
    image, labels = scene()
    write_raster(tmp_path / 'images/a.tif', image.astype(np.uint16) * 9)
    write_raster(tmp_path / 'masks/a.tif', labels)
    with pytest.raises(ConversionError, match=r'uint16 samples.* \(here 98 % lie in --scale \d+ \d+\)'):
        convert(tmp_path)
    assert not (tmp_path / 'out').exists()
    convert(tmp_path, scale=(0.0, 2295.0))
    assert np.abs(converted(tmp_path)[0].astype(int) - image).max() <= 1


def test_a_config_of_ones_own_tiles_uses_all_of_them(tmp_path, request):
    for name in 'abc':
        image, labels = scene()
        write_raster(tmp_path / f'images/{name}.tif', image)
        write_raster(tmp_path / f'masks/{name}.tif', labels)
    convert(tmp_path)
    base = request.config.rootpath / 'configs/_base_/datasets/segmentation.py'
    path = tmp_path / 'out/dataset_config.py'
    path.write_text(path.read_text().replace('./segmentation.py', str(base)))
    sampler = Config.fromfile(path).train_dataloader.sampler
    assert sampler.budget == 1.0 and sampler.type == 'egmim_mm.LabelBudgetSampler'


def test_pairs_by_pattern(tmp_path):
    for number in (1, 2):
        image, labels = scene(seed=number)
        write_raster(tmp_path / f'all/rgb_{number}.tif', image)
        write_raster(tmp_path / f'all/label_{number}.tif', labels)
    options = dict(images='all', masks='all')
    manifest = convert(tmp_path, **options, pair=('rgb_(.+)', 'label_(.+)'))
    assert manifest['splits']['train']['images'] == 2
    for number in (1, 2):
        assert (converted(tmp_path, f'rgb_{number}')[1] == scene(seed=number)[1]).all()
    for pair, message in ((('rgb_(.+)', 'mask_(.+)'), r'--pair mask_\(.\+\) matches none of the 4 files'),
                          (('rgb_', 'label_(.+)'), 'not a regular expression with a group'),
                          (('(rgb)', 'label_(.+)'), "finds 'rgb' in two files: .*rgb_1.tif and .*rgb_2.tif"),
                          (('rgb_(1)', 'label_(.+)'), '1 of 2 masks have no image: label_2')):
        with pytest.raises(ConversionError, match=message):
            convert(tmp_path, **options, pair=pair)


def test_colours_that_are_off_by_little(tmp_path, capsys):
    image, labels = scene()
    resaved = COLORS[labels] + np.random.default_rng(0).integers(-1, 2, (64, 64, 3))
    write_raster(tmp_path / 'images/a.tif', image)
    write_raster(tmp_path / 'masks/a.tif', resaved.astype(np.uint8))
    colors = [f'{name}=#{r:02X}{g:02X}{b:02X}' for name, (r, g, b) in zip(CLASSES, COLORS)]
    with pytest.raises(ConversionError, match='masks/a.tif: 9.* of the pixels have values that are not in the class'):
        convert(tmp_path, classes=colors)
    manifest = convert(tmp_path, classes=colors, tolerance=2)
    assert (converted(tmp_path)[1] == labels).all()
    near = int((resaved != COLORS[labels]).any(axis=-1).sum())
    assert manifest['splits']['train']['near'] == near and not manifest['splits']['train']['stray']
    print_manifest(manifest, 'out')
    assert f'train: {near} px had a colour near' in capsys.readouterr().out
    with pytest.raises(ConversionError, match='--tolerance 2 is a distance of colours'):
        convert(tmp_path, tolerance=2)


def test_an_image_without_any_data_is_named(tmp_path, capsys):
    for name, factor in (('a', 1), ('empty', 0)):
        image, labels = scene()
        write_raster(tmp_path / f'images/{name}.tif', image * np.uint8(factor), nodata=0)
        write_raster(tmp_path / f'masks/{name}.tif', labels)
    print_manifest(convert(tmp_path), 'out')
    assert '1 of 2 images (empty): no data at all, by value or mask' in ' '.join(capsys.readouterr().out.split())


# --- crops from rasters -----------------------------------------------------------------------------------------------

def test_other_bands_are_found_before_training_and_hooks_get_tiles(tmp_path):
    image, _ = scene()
    write_raster(tmp_path / 'rgb.tif', image)
    write_raster(tmp_path / 'sub/grey.jp2', image[..., 0], driver='JP2OpenJPEG')
    with pytest.raises(TileReadError, match=r'grey\.jp2: gives 1 bands, .*rgb\.tif 3; crops of one batch'):
        RasterCrops(str(tmp_path), crop_size=32)
    dataset = RasterCrops(str(tmp_path), crop_size=32, include='rgb', rotation=(0, 90), num_crops=9)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first, again = (list(dataset_tiles(dataset, 3)) for _ in range(2))
    assert (np.random.get_state()[1] == before).all()  # looking changes no training
    assert [tile.name for tile in first] == ['rgb'] * 3
    for tile, same in zip(first, again):
        assert tile.image.shape == (32, 32, 3) and (tile.image == same.image).all()
        places = np.lib.stride_tricks.sliding_window_view(image[..., ::-1], (32, 32), axis=(0, 1))
        assert (places == tile.image.transpose(2, 0, 1)).all(axis=(2, 3, 4)).any()
