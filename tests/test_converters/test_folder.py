"""A user's own folder: colours and numbers, palettes, GeoTIFF, stopped runs, and bad input by name."""
import errno
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from fake_downloads import labels, picture
from mmengine.config import Config
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from egmim_mm.converters import image_tiles
from egmim_mm.converters.archives import ConversionError
from egmim_mm.converters.command import print_manifest
from egmim_mm.converters.folder import convert_folder, parse_classes
from egmim_mm.records import whole_files
from egmim_mm.registry import DATASETS

RGB = np.array([[60, 16, 152], [110, 193, 228], [155, 155, 155]], np.uint8)  # building, road, no label
CLASSES = ['building=#3C1098', 'road=#6EC1E4']
LIKE_DUBAI = dict(classes=CLASSES, ignore=['#9B9B9B'], images='*/images', masks='*/masks')


def read(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture
def areas(tmp_path, write_image):
    """Two areas of two JPEGs of 10 x 9 px; the masks of area_2 are palette files. Returns the folder and the labels."""
    truth = {}
    for area in (1, 2):
        for part in (1, 2):
            name = f'area_{area}/part_{part}'
            truth[name] = labels(10 * area + part, 10, 9, 0, 3)
            write_image(tmp_path / f'area_{area}/images/part_{part}.jpg', picture(part, 10, 9))
            path = tmp_path / f'area_{area}/masks/part_{part}.png'
            write_image(path, RGB[truth[name]])
            if area == 2:
                palette = Image.fromarray(truth[name], 'P')
                palette.putpalette(RGB.ravel().tolist())
                palette.save(path)
    return tmp_path, truth


def write_tif(path, pixels, **profile):
    """(H, W, bands) -> GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, 'w', driver='GTiff', height=pixels.shape[0], width=pixels.shape[1],
                       count=pixels.shape[2], dtype=pixels.dtype, **profile) as file:
        file.write(np.moveaxis(pixels, -1, 0))


def test_colour_and_palette_masks_in_the_form_of_dubai(areas, tmp_path_factory, monkeypatch, request):
    folder, truth = areas
    out = tmp_path_factory.mktemp('out') / 'mine'
    manifest = convert_folder(str(folder), str(out), **LIKE_DUBAI, val=['*part_2'], crop=8, stride=8)
    for name, label in truth.items():
        split = 'val' if name.endswith('2') else 'train'
        for y in (0, 2):
            for x in (0, 1):
                tile = out / 'ann_dir' / split / f'{name}_{x}_{y}_{x + 8}_{y + 8}.png'
                assert (read(tile) == np.where(label == 2, 255, label)[y:y + 8, x:x + 8]).all()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        with rasterio.open(folder / 'area_2/images/part_1.jpg') as file:
            decoded = np.moveaxis(file.read(), 0, -1)  # JPEG decoders differ by a few levels
    assert (read(out / 'img_dir/train/area_2/part_1_1_2_9_10.png') == decoded[2:10, 1:9]).all()
    assert manifest['splits']['train']['tiles'] == 8 and len(manifest['splits']['train']['sha256']) == 4

    text = (out / 'dataset_config.py').read_text()
    base = request.config.rootpath / 'configs/_base_/datasets/segmentation.py'
    (out / 'dataset_config.py').write_text(text.replace('./segmentation.py', str(base)))
    cfg = Config.fromfile(out / 'dataset_config.py')
    dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, pipeline=[]))
    assert len(dataset) == 8 and dataset.metainfo['palette'] == RGB[:2].tolist()
    assert dataset.class_pixels().sum(axis=0).tolist() == list(
        manifest['splits']['val']['class_pixels']['ann_dir'].values())


def test_dubai_as_published_in_one_command(shared_data, tmp_path):
    for tile in ('tile_2', 'tile_8'):  # palette masks; stray black pixels
        for part in ('001', '007'):
            for kind, ending in (('images', 'jpg'), ('masks', 'png')):
                (tmp_path / 'dubai' / tile / kind).mkdir(parents=True, exist_ok=True)
                name = f'image_part_{part}.{ending}'
                (tmp_path / 'dubai' / tile / kind / name).symlink_to(shared_data / 'dubai' / tile / kind / name)
    classes = ['building=#3C1098', 'land=#8429F6', 'road=#6EC1E4', 'vegetation=#FEDD3A', 'water=#E2A929']
    manifest = convert_folder(str(tmp_path / 'dubai'), str(tmp_path / 'out'), classes, ['#9B9B9B', '#000000'],
                              '*/images', '*/masks', val=['*_part_00[7-9]'], crop=1024, stride=1024)
    assert {split: facts['images'] for split, facts in manifest['splits'].items()} == dict(train=2, val=2)
    for split, facts in manifest['splits'].items():
        tiles = np.concatenate([read(p).ravel() for p in (tmp_path / 'out/ann_dir' / split).rglob('*.png')])
        assert set(np.unique(tiles)) <= {0, 1, 2, 3, 4, 255} and not facts['stray']
        assert list(facts['class_pixels']['ann_dir'].values()) == np.bincount(tiles, minlength=256)[:5].tolist()


def test_geotiff_tiles_keep_their_place_on_the_map(tmp_path):
    place = dict(transform=from_origin(500_000, 5_800_000, 0.2, 0.2), crs='EPSG:32633', compress='lzw', tiled=True,
                 blockxsize=16, blockysize=16)
    pixels, label = picture(0, 40, 24), labels(0, 40, 24, 0, 2)
    write_tif(tmp_path / 'images/a.tif', pixels, **place)
    write_tif(tmp_path / 'masks/a.tif', label[..., None], **place)
    convert_folder(str(tmp_path), str(tmp_path / 'out'), ['field', 'road'], crop=20, stride=20)
    with rasterio.open(tmp_path / 'out/img_dir/train/a_4_20_24_40.tif') as tile:
        assert tile.crs.to_epsg() == 32633
        assert tile.transform.almost_equals(from_origin(500_000 + 4 * 0.2, 5_800_000 - 20 * 0.2, 0.2, 0.2))
        assert (np.moveaxis(tile.read(), 0, -1) == pixels[20:, 4:]).all()
    with rasterio.open(tmp_path / 'out/ann_dir/train/a_4_20_24_40.tif') as tile:
        assert tile.crs.to_epsg() == 32633 and (tile.read(1) == label[20:, 4:]).all()


def test_a_raster_without_crs_keeps_its_transform(tmp_path):
    write_tif(tmp_path / 'images/a.tif', picture(0, 8, 8), transform=from_origin(10, 20, 1, 1))
    write_tif(tmp_path / 'masks/a.tif', labels(0, 8, 8, 0, 2)[..., None])
    convert_folder(str(tmp_path), str(tmp_path / 'out'), ['field', 'road'], crop=4, stride=4)
    with rasterio.open(tmp_path / 'out/img_dir/train/a_4_4_8_8.tif') as tile:
        assert tile.crs is None and tile.transform == from_origin(14, 16, 1, 1)


def test_sixteen_bits_and_four_bands_need_a_choice(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2000, (8, 8, 4)).astype(np.uint16)
    write_tif(tmp_path / 'images/a.tif', pixels)
    write_tif(tmp_path / 'masks/a.tif', labels(0, 8, 8, 0, 2)[..., None])
    arguments = dict(classes=['field', 'road'], crop=8, stride=8)
    for options, message in ((dict(), r'images/a.tif: has 4 bands.*--bands 1 2 3'),
                             (dict(bands=[3, 2, 1]), r'uint16 samples.*--scale [\d.]+ [\d.]+'),
                             (dict(bands=[3, 2, 5]), 'has 4 bands, band 5 is asked for'),
                             (dict(scale=(9.0, 9.0)), 'first value must be below')):
        with pytest.raises(ConversionError, match=message):
            convert_folder(str(tmp_path), str(tmp_path / 'out'), **arguments, **options, overwrite=True)
    convert_folder(str(tmp_path), str(tmp_path / 'out'), **arguments, bands=[3, 2, 1], scale=(500.0, 1500.0),
                   overwrite=True)
    expected = np.clip((pixels[..., [2, 1, 0]] - 500.0) * 255 / 1000, 0, 255)
    assert np.abs(read(tmp_path / 'out/img_dir/train/a_0_0_8_8.png') - expected).max() <= 0.51


def test_a_stopped_run_goes_on_where_it_was(areas, tmp_path_factory, monkeypatch):
    folder, _ = areas
    whole, out = (tmp_path_factory.mktemp(name) / 'mine' for name in ('whole', 'stopped'))
    expected = convert_folder(str(folder), str(whole), **LIKE_DUBAI, crop=8, stride=4)
    original, written = image_tiles.write_whole, []

    def stop(path, content):
        if len(written) == 20:  # in the middle of the third image
            raise KeyboardInterrupt
        written.append(path)
        original(path, content)

    monkeypatch.setattr(image_tiles, 'write_whole', stop)
    with pytest.raises(KeyboardInterrupt):
        convert_folder(str(folder), str(out), **LIKE_DUBAI, crop=8, stride=4)
    assert not json.loads((out / 'dataset.json').read_text())['complete']
    with open(out / '.converted.jsonl', 'a') as journal:
        journal.write('{"name": "cut off')
    (out / 'img_dir/train/area_1/.4711.part_1.png').write_bytes(b'half')

    written.clear()
    monkeypatch.setattr(image_tiles, 'write_whole', lambda *file: written.append(file) or original(*file))
    assert convert_folder(str(folder), str(out), **LIKE_DUBAI, crop=8, stride=4) == expected
    assert len(written) == 16  # images three and four: four tiles with two files each
    for path in whole.rglob('*.png'):
        assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert not list(out.rglob('.4711*'))


def test_processes_give_the_same_files(areas, tmp_path_factory):
    folder, _ = areas
    one, two = (tmp_path_factory.mktemp(name) / 'mine' for name in ('one', 'two'))
    assert convert_folder(str(folder), str(one), **LIKE_DUBAI, crop=8, stride=4, workers=1) == convert_folder(
        str(folder), str(two), **LIKE_DUBAI, crop=8, stride=4, workers=2)
    assert {p.relative_to(one): p.read_bytes() for p in one.rglob('*.png')} == {
        p.relative_to(two): p.read_bytes() for p in two.rglob('*.png')}


@pytest.mark.parametrize('code, words', [(errno.ENOSPC, 'No space left'), (errno.EROFS, 'Read-only file system')])
def test_a_full_disk_and_a_read_only_target(areas, tmp_path_factory, monkeypatch, code, words):
    folder, _ = areas
    out = tmp_path_factory.mktemp('out') / 'mine'
    replace, count = Path.replace, []

    def full(source, target):
        count.append(target)
        if len(count) == (1 if code == errno.EROFS else 8):
            raise OSError(code, os.strerror(code))
        return replace(source, target)

    monkeypatch.setattr(whole_files.Path, 'replace', full)
    with pytest.raises(ConversionError, match=f'mine cannot be written .{words}.*finished tiles stay'):
        convert_folder(str(folder), str(out), **LIKE_DUBAI, crop=8, stride=8)
    assert not [path for path in out.rglob('.*') if path.name != '.converted.jsonl']  # no half files
    assert all(read(path).shape[:2] == (8, 8) for path in out.rglob('*.png'))


def test_other_settings_need_another_folder(areas, tmp_path_factory):
    folder, _ = areas
    out = tmp_path_factory.mktemp('out') / 'mine'
    convert_folder(str(folder), str(out), **LIKE_DUBAI, crop=8, stride=8)
    with pytest.raises(ConversionError, match='other settings .stride was 8 and is 4'):
        convert_folder(str(folder), str(out), **LIKE_DUBAI, crop=8, stride=4)
    manifest = convert_folder(str(folder), str(out), **LIKE_DUBAI, crop=5, stride=5, overwrite=True)
    assert len(list(out.rglob('img_dir/train/**/*.png'))) == manifest['splits']['train']['tiles'] == 4 * 4
    (out / 'dataset.json').unlink()
    with pytest.raises(ConversionError, match='not made by these converters'):
        convert_folder(str(folder), str(out), **LIKE_DUBAI, crop=5, stride=5, overwrite=True)


def test_images_without_mask_and_masks_without_image(areas, tmp_path_factory):
    folder, _ = areas
    out = tmp_path_factory.mktemp('out') / 'mine'
    (folder / 'area_1/masks/part_2.png').unlink()
    with pytest.raises(ConversionError, match='1 of 4 images have no mask: area_1/part_2 '):
        convert_folder(str(folder), str(out), **LIKE_DUBAI)
    manifest = convert_folder(str(folder), str(out), **LIKE_DUBAI, unlabeled=True)
    assert (out / 'img_dir/unlabeled/area_1/part_2_0_0_9_10.png').exists()
    assert {s: f['images'] for s, f in manifest['splits'].items()} == dict(train=3, unlabeled=1)
    (folder / 'area_2/images/part_1.jpg').unlink()
    with pytest.raises(ConversionError, match='1 of 3 masks have no image: area_2/part_1 '):
        convert_folder(str(folder), str(out), **LIKE_DUBAI, unlabeled=True)


def test_images_alone_for_pretraining(areas, tmp_path_factory, capsys, request):
    folder, truth = areas
    for masks in folder.glob('*/masks'):
        shutil.rmtree(masks)
    out = tmp_path_factory.mktemp('out')
    manifest = convert_folder(str(folder), str(out / 'a'), images='*/images', masks='*/masks', crop=8, stride=8)
    names = {f'{name}_{x}_{y}_{x + 8}_{y + 8}.png' for name in truth for y in (0, 2) for x in (0, 1)}
    assert {p.relative_to(out / 'a/img_dir/unlabeled').as_posix() for p in (out / 'a').rglob('*.png')} == names
    assert {split: counts['images'] for split, counts in manifest['splits'].items()} == dict(unlabeled=4)
    print_manifest(manifest, str(out / 'a'))
    printed = capsys.readouterr().out
    assert f'{out}/a holds images alone, without masks: for pretraining\n' in printed
    assert 'labelled pixels' not in printed

    text = (out / 'a/dataset_config.py').read_text()
    base = request.config.rootpath / 'configs/_base_/datasets/unlabeled.py'
    (out / 'a/dataset_config.py').write_text(text.replace('./unlabeled.py', str(base)))
    dataset = Config.fromfile(out / 'a/dataset_config.py').train_dataloader.dataset
    assert len(DATASETS.build(dict(dataset, pipeline=[], min_size=8))) == len(names)

    # classes that have no masks yet
    labelled = convert_folder(str(folder), str(out / 'b'), **LIKE_DUBAI, unlabeled=True, crop=8, stride=8)
    assert labelled['splits'] == manifest['splits'] and (out / 'b/dataset_config.py').read_text() == text.replace(
        str(out / 'a'), str(out / 'b'))
    with pytest.raises(ConversionError, match='no masks: .*For images alone leave --classes out'):
        convert_folder(str(folder), str(out / 'c'), **LIKE_DUBAI)


def test_masks_without_classes_are_left_out_on_demand_only(areas, tmp_path_factory):
    folder, _ = areas
    out, places = tmp_path_factory.mktemp('out') / 'mine', dict(images='*/images', masks='*/masks')
    with pytest.raises(ConversionError, match=r'\*/masks holds 4 masks: say with --classes what they hold, or convert '
                       'the images alone with --unlabeled'):
        convert_folder(str(folder), str(out), **places)
    with pytest.raises(ConversionError, match='^--val, --max-stray: for images with masks, of which --classes says'):
        convert_folder(str(folder), str(out), **places, val=['a*'], max_stray=0.5)
    manifest = convert_folder(str(folder), str(out), **places, unlabeled=True)
    assert manifest['splits']['unlabeled']['images'] == 4 and not (out / 'ann_dir').exists()


def test_unknown_colours_are_named(areas, tmp_path_factory):
    folder, truth = areas
    out = tmp_path_factory.mktemp('out')
    strict = LIKE_DUBAI | dict(ignore=())
    with pytest.raises(ConversionError, match=r'area_1/masks/part_1.png: .*#9B9B9B .*classes are #3C1098, #6EC1E4'):
        convert_folder(str(folder), str(out / 'a'), **strict)
    manifest = convert_folder(str(folder), str(out / 'b'), **strict, max_stray=1.0, crop=None, stride=None)
    assert manifest['splits']['train']['stray'] == {'#9B9B9B': int(sum((t == 2).sum() for t in truth.values()))}
    assert (read(out / 'b/ann_dir/train/area_2/part_1.png') == 255).sum() == (truth['area_2/part_1'] == 2).sum()


def test_damaged_files_and_wrong_sizes_are_named(areas, tmp_path_factory, write_image):
    folder, _ = areas
    out = tmp_path_factory.mktemp('out')
    path = folder / 'area_1/images/part_1.jpg'
    content = path.read_bytes()
    for number, broken in enumerate((content[:-60], b'', b'text')):
        path.write_bytes(broken)
        with pytest.raises(ConversionError, match='area_1/images/part_1.jpg: '):
            convert_folder(str(folder), str(out / str(number)), **LIKE_DUBAI)
    write_image(path, picture(0, 10, 8))
    with pytest.raises(ConversionError, match=r'part_1.png: the mask has 10 x 9 px .*part_1.jpg has 10 x 8'):
        convert_folder(str(folder), str(out / 'size'), **LIKE_DUBAI)


def test_an_error_in_a_process_is_that_of_one_process(areas, tmp_path_factory):
    folder, _ = areas
    (folder / 'area_2/masks/part_2.png').write_bytes(b'text')
    with pytest.raises(ConversionError, match='area_2/masks/part_2.png: not a raster') as caught:
        convert_folder(str(folder), str(tmp_path_factory.mktemp('out') / 'mine'), **LIKE_DUBAI, workers=2)
    assert [entry.path.name for entry in caught.traceback][-1] == 'conversion.py'  # tools print such errors in a line


def test_two_images_of_one_name(areas, tmp_path_factory, write_image):
    folder, _ = areas
    write_image(folder / 'area_1/images/part_1.png', picture(0, 10, 9))
    with pytest.raises(ValueError, match="two images are called 'area_1/part_1'"):
        convert_folder(str(folder), str(tmp_path_factory.mktemp('out') / 'mine'), **LIKE_DUBAI)


@pytest.mark.parametrize('changes, message', [
    (dict(stride=9), 'stride 9 must be between 1 px and the crop of 8 px'),
    (dict(stride=0), 'stride 0 must be'),
    (dict(crop=None, stride=4), 'stride of 4 px needs a crop'),
    (dict(workers=0), 'workers 0'),
    (dict(val=['area_9/*']), 'matches none of the 4 images'),
    (dict(classes=['a=#000000', 'b']), 'give NAME=#RRGGBB for all'),
    (dict(classes=['a=#000000', 'a=#111111']), 'every class needs a name of its own'),
])
def test_bad_options(areas, tmp_path_factory, changes, message):
    arguments = LIKE_DUBAI | dict(crop=8, stride=8) | changes
    with pytest.raises(ConversionError, match=message):
        convert_folder(str(areas[0]), str(tmp_path_factory.mktemp('out') / 'mine'), **arguments)


def test_numbers_of_classes():
    names, values = parse_classes(['road=7', 'field=3'], ['0'])
    assert names == ['road', 'field'] and values.values == (7, 3) and values.ignore == (0, 255)
    assert parse_classes(['road', 'field'])[1].values == (0, 1)
