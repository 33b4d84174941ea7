"""SegmentationTiles: pairs, value tables, class pixels, and bad input by name."""
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from egmim_mm.datasets import SegmentationTiles, class_counts
from egmim_mm.storage import mask_values, tile_pairs
from egmim_mm.storage.tile_reading import TileReadError

COLORS = ['#FF0000', (0, 255, 0), '#0000ff']
META = dict(classes=('red', 'green', 'blue'), palette=COLORS)
RGB = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
LOAD = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')]

# Classes of the mask that the fixtures write; 3 is the colour #090909, which the configs ignore.
MASK = np.repeat(np.repeat(np.array([[0, 1], [2, 3]]), 8, axis=0), 8, axis=1)
TRUTH = np.where(MASK == 3, 255, MASK)


@pytest.fixture
def area(tmp_path, write_image):
    """Two folders of two tiles each, with colour masks; the masks of tile_b are palette files."""
    for source in ('tile_a', 'tile_b'):
        for part in (1, 2):
            stem = f'part_{part}'
            write_image(tmp_path / source / 'images' / f'{stem}.jpg', np.full((16, 16, 3), 50 * part, np.uint8))
            write_image(tmp_path / source / 'masks' / f'{stem}.png', RGB[MASK])
            if source == 'tile_b':
                palette = Image.fromarray(MASK.astype(np.uint8))
                palette.putpalette(RGB.ravel().tolist())
                palette.save(tmp_path / source / 'masks' / f'{stem}.png')
    return tmp_path


@pytest.fixture
def indexed(tmp_path, write_image):
    """Function: one tile 'x' with the given single-channel mask; returns the folder."""

    def write(mask):
        write_image(tmp_path / 'images' / 'x.jpg', np.zeros((*mask.shape[:2], 3), np.uint8))
        write_image(tmp_path / 'masks' / 'x.png', mask)
        return tmp_path

    return write


def area_tiles(root, **changes):
    arguments = dict(data_prefix=dict(img_path='*/images', seg_map_path='*/masks'), metainfo=META,
                     mask_format='color', ignore_values=('#090909', ), pipeline=LOAD) | changes
    return SegmentationTiles(root, **arguments)


def index_tiles(root, **changes):
    return SegmentationTiles(root, **(dict(metainfo=META, pipeline=LOAD) | changes))


def test_names_sources_and_classes(area):
    dataset = area_tiles(area)
    assert dataset.tile_names == ['tile_a/part_1', 'tile_a/part_2', 'tile_b/part_1', 'tile_b/part_2']
    assert dataset.sources == ['tile_a', 'tile_a', 'tile_b', 'tile_b']
    assert dataset.metainfo['classes'] == ('red', 'green', 'blue')
    assert dataset.metainfo['palette'] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_sources_from_the_tile_names(area):
    assert area_tiles(area, source_pattern=r'.*(_[ab])/').sources == ['_a', '_a', '_b', '_b']
    with pytest.raises(ValueError, match="finds no group in the tile name 'tile_a/part_1'"):
        assert area_tiles(area, source_pattern='tile_b/(.*)').sources


@pytest.mark.parametrize('tile', range(4))
def test_rgb_and_palette_masks_become_classes(area, tile):
    sample = area_tiles(area)[tile]
    assert sample['gt_seg_map'].dtype == np.uint8
    assert (sample['gt_seg_map'] == TRUTH).all()
    assert sample['seg_fields'] == ['gt_seg_map']


@pytest.mark.parametrize('include, expected', [
    ('part_1', ['tile_a/part_1', 'tile_b/part_1']),
    ('tile_b/*', ['tile_b/part_1', 'tile_b/part_2']),
    (['part_[3-9]', 'tile_a/part_2'], ['tile_a/part_2']),
])
def test_include(area, include, expected):
    assert area_tiles(area, include=include).tile_names == expected


def test_split_file(area):
    (area / 'split.txt').write_text('tile_b/part_2\ntile_a/part_1\n')
    assert area_tiles(area, ann_file='split.txt').tile_names == ['tile_a/part_1', 'tile_b/part_2']
    (area / 'split.txt').write_text('tile_a/part_9\n')
    with pytest.raises(FileNotFoundError, match='1 of 1 listed tiles have no image.*tile_a/part_9'):
        area_tiles(area, ann_file='split.txt')
    with pytest.raises(FileNotFoundError, match='split file .*none.txt does not exist'):
        area_tiles(area, ann_file='none.txt')


def test_class_pixels(area):
    expected = np.tile([64, 64, 64], (4, 1))
    counts = area_tiles(area).class_pixels()
    assert counts.dtype == np.int64 and (counts == expected).all()


def test_class_pixels_are_cached_until_a_mask_changes(area, write_image, monkeypatch):
    read = []
    original = mask_values.read_mask
    monkeypatch.setattr(mask_values, 'read_mask', lambda *a: read.append(a[0]) or original(*a))
    area_tiles(area).class_pixels()
    area_tiles(area).class_pixels()
    assert len(read) == 4

    path = area / 'tile_a' / 'masks' / 'part_1.png'
    write_image(path, RGB[np.zeros_like(MASK)])
    os.utime(path, ns=(1, 1))
    assert area_tiles(area).class_pixels()[0].tolist() == [256, 0, 0]
    assert len(read) == 8
    area_tiles(area, mask_values=['#00FF00', '#FF0000', '#0000FF']).class_pixels()  # another table
    assert len(read) == 12


def test_a_count_that_was_stopped_goes_on(area, monkeypatch):
    monkeypatch.setattr(class_counts, 'CHUNK', 1)
    read, original = [], mask_values.read_mask

    def stop_at_the_third(path, *rest):
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(path)
        return original(path, *rest)

    monkeypatch.setenv('LOKY_MAX_CPU_COUNT', '1')
    monkeypatch.setattr(mask_values, 'read_mask', stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        area_tiles(area).class_pixels()
    journal, = (area / '.egmim_cache').glob('*.journal')
    journal.write_bytes(journal.read_bytes() + b'cut off')
    again = []
    monkeypatch.setattr(mask_values, 'read_mask', lambda path, *rest: again.append(path) or original(path, *rest))
    assert (area_tiles(area).class_pixels() == [[64, 64, 64]] * 4).all()
    assert len(read) == 2 and len(again) == 2 and not set(read) & set(again)
    assert [path.suffix for path in (area / '.egmim_cache').iterdir()] == ['.npy']


def test_processes_count_what_threads_count(area, monkeypatch):
    threads = area_tiles(area).class_pixels()
    for file in (area / '.egmim_cache').iterdir():
        file.unlink()
    monkeypatch.setattr(class_counts, 'MANY', 1)
    assert (area_tiles(area).class_pixels() == threads).all()


def test_a_second_process_waits_for_the_first_and_reads_what_it_counted(area, monkeypatch):
    read, original = [], mask_values.read_mask

    def slow(path, *rest):
        read.append(path)
        time.sleep(0.05)
        return original(path, *rest)

    monkeypatch.setattr(mask_values, 'read_mask', slow)
    with ThreadPoolExecutor(3) as pool:  # a lock holds threads apart as it does processes
        counted = list(pool.map(lambda _: area_tiles(area).class_pixels().tolist(), range(3)))
    assert len(read) == 4 and counted[0] == counted[1] == counted[2]


def test_a_damaged_cache_is_counted_again(area):
    area_tiles(area).class_pixels()
    cache, = (area / '.egmim_cache').iterdir()
    cache.write_bytes(b'')
    assert area_tiles(area).class_pixels().sum() == 4 * 192


def test_a_write_protected_folder_is_left_alone(area, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp('home')
    monkeypatch.setenv('HOME', str(home))
    area.chmod(0o555)
    try:
        area_tiles(area).class_pixels()
    finally:
        area.chmod(0o755)
    assert not (area / '.egmim_cache').exists()
    assert len(list((home / '.cache' / 'egmim_mm').iterdir())) == 1


def test_index_masks_in_the_ways_they_are_stored(indexed):
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    assert (index_tiles(indexed(mask))[0]['gt_seg_map'] == mask).all()
    shifted = np.array([[1, 2], [3, 0]], np.uint8)
    values = dict(mask_values=(1, 2, 3), ignore_values=(0, ))
    assert (index_tiles(indexed(shifted), **values)[0]['gt_seg_map'] == mask).all()
    deep = np.array([[100, 2000], [30000, 7]], np.uint16)
    values = dict(mask_values=(100, 2000, 30000), ignore_values=(7, ))
    assert (index_tiles(indexed(deep), **values)[0]['gt_seg_map'] == mask).all()


def test_255_may_be_a_class_when_the_config_says_so(indexed):
    root = indexed(np.array([[0, 255], [255, 0]], np.uint8))
    sample = index_tiles(root, metainfo=dict(classes=('ground', 'road')), mask_values=(0, 255))[0]
    assert sample['gt_seg_map'].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize('mask, changes, message', [
    ([[0, 1], [2, 7]], {}, r'masks/x.png: values that are not in the class list: 7 \(1 px\).*are 0, 1, 2'),
    ([[5, 5], [2, 0]], dict(mask_values=(1, 2, 3)), r'0 \(1 px\), 5 \(2 px\)'),
    ([[[1, 2, 3]] * 2] * 2, dict(mask_format='color'), r'x.png: .* #010203 \(4 px\); mask_values are #FF0000'),
    ([[[1, 2, 3]] * 2] * 2, {}, "x.png: a mask with 3 channels; use mask_format='color'"),
])
def test_unknown_values_are_named_with_their_file(indexed, mask, changes, message):
    dataset = index_tiles(indexed(np.array(mask, np.uint8)), **changes)
    for read in (lambda: dataset[0], dataset.class_pixels):
        with pytest.raises(TileReadError, match=message):
            read()


def test_stray_colour_is_named(area):
    with pytest.raises(TileReadError, match=r'tile_a/masks/part_1.png: .*#090909 \(64 px\)'):
        area_tiles(area, ignore_values=()).class_pixels()


def test_missing_mask(area):
    (area / 'tile_b' / 'masks' / 'part_2.png').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 4 images have no mask, .*tile_b/masks/part_2.png'):
        area_tiles(area)
    assert len(area_tiles(area, include='tile_a/*')) == 2


def test_a_mask_without_image_is_only_reported(area, monkeypatch):
    lines = []
    monkeypatch.setattr(tile_pairs, 'print_log', lambda text, **_: lines.append(text))
    (area / 'tile_a' / 'images' / 'part_1.jpg').unlink()
    assert len(area_tiles(area)) == 3
    assert len(lines) == 1 and 'tile_a/masks/part_1.png' in lines[0]


def test_image_and_mask_of_different_size(area, write_image):
    write_image(area / 'tile_a' / 'masks' / 'part_2.png', RGB[MASK[:8]])
    message = r'masks/part_2.png: the mask has 8 x 16 px .*images/part_2.jpg has 16 x 16'
    with pytest.raises(TileReadError, match=message):
        area_tiles(area)
    with pytest.raises(TileReadError, match=message):  # beyond the first headers: when loaded
        area_tiles(area, check_first=1)[1]


def test_images_and_masks_in_one_folder(tmp_path, write_image):
    for stem in 'ab':
        write_image(tmp_path / f'{stem}.png', np.zeros((4, 4, 3), np.uint8))
        write_image(tmp_path / f'{stem}_mask.png', np.ones((4, 4), np.uint8))
    dataset = index_tiles(tmp_path, data_prefix=dict(img_path='', seg_map_path=''), img_suffix='.png',
                          seg_map_suffix='_mask.png')
    assert dataset.tile_names == ['a', 'b'] and (dataset[0]['gt_seg_map'] == 1).all()


def test_images_without_masks(area):
    dataset = area_tiles(area, data_prefix=dict(img_path='*/images'), pipeline=LOAD[:1], test_mode=True)
    assert dataset[3]['img'].shape == (16, 16, 3)
    with pytest.raises(ValueError, match='set up without masks'):
        dataset.class_pixels()


@pytest.mark.parametrize('changes, error, message', [
    (dict(reduce_zero_label=True), ValueError, r'set mask_values=\(1, 2, ...\)'),
    (dict(metainfo=None), ValueError, 'metainfo needs the class names'),
    (dict(mask_values=(1, 2)), ValueError, '2 mask_values for 3 classes'),
    (dict(mask_values=('#000000', ) * 3), ValueError, '#000000 is listed more than once'),
    (dict(ignore_values=('#FF0000', )), ValueError, '#FF0000 is listed more than once'),
    (dict(ignore_values=('grey', )), ValueError, "'grey' is neither"),
    (dict(mask_format='rgb'), ValueError, "mask_format 'rgb' is unknown"),
    (dict(mask_format='index', mask_values=('#FF0000', 1, 2)), ValueError, "'#FF0000' is not an integer"),
    (dict(metainfo=META | dict(palette=COLORS[:2])), ValueError, '2 colours in the palette for 3 classes'),
    (dict(metainfo=dict(classes=META['classes'])), ValueError, "mask_format='color' needs"),
    (dict(data_prefix=dict(img_path='*/*', seg_map_path='*/masks')), ValueError, 'exactly one whole'),
    (dict(data_prefix=dict(img_path='*/images', seg_map_path='masks')), ValueError, 'both prefixes or in none'),
    (dict(data_prefix=dict(img_path='*/nothing', seg_map_path='*/masks')), FileNotFoundError, 'no folder matches'),
    (dict(img_suffix='.tif'), FileNotFoundError, 'no images with the suffix .tif'),
    (dict(include='nothing'), FileNotFoundError, "none of the 4 images in .* matches include='nothing'"),
])
def test_bad_configs(area, changes, error, message):
    with pytest.raises(error, match=message):
        area_tiles(area, **changes)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='missing'):
        area_tiles(tmp_path / 'missing')


def test_mmseg_metric_and_packing_work_with_it(area):
    from mmseg.evaluation import IoUMetric
    dataset = area_tiles(area, pipeline=[*LOAD, dict(type='mmseg.PackSegInputs')], test_mode=True)
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dataset.metainfo
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples'].to_dict()
        prediction = np.where(TRUTH == 255, 0, TRUTH)
        prediction[:8, :8] = 1  # red is taken for green
        sample['pred_sem_seg'] = dict(data=sample['gt_sem_seg']['data'].new_tensor(prediction)[None])
        metric.process({}, [sample])
    result = metric.compute_metrics(metric.results)
    assert result['mIoU'] == pytest.approx(100 * (0 + 0.5 + 1) / 3, abs=0.01)


def test_real_masks(shared_data):
    dataset = SegmentationTiles(
        shared_data / 'dubai', data_prefix=dict(img_path='*/images', seg_map_path='*/masks'),
        metainfo=dict(classes=('building', 'land', 'road', 'vegetation', 'water'),
                      palette=['#3C1098', '#8429F6', '#6EC1E4', '#FEDD3A', '#E2A929']),
        mask_format='color', ignore_values=('#9B9B9B', '#000000'), pipeline=LOAD[1:])
    assert len(dataset) == 72 and set(dataset.sources) == {f'tile_{i}' for i in range(1, 9)}
    found = np.zeros(256, np.int64)
    for i in range(len(dataset)):
        found += np.bincount(dataset[i]['gt_seg_map'].ravel(), minlength=256)
    assert np.flatnonzero(found).tolist() == [0, 1, 2, 3, 4, 255]
    assert found[:5].tolist() == [13177546, 51850363, 9261912, 10206379, 13482196]
    assert found[255] == 552156 + 501691  # black and grey


def test_full_reference_beside_the_masks(area, write_image):
    for source in ('tile_a', 'tile_b'):
        for part in (1, 2):
            write_image(area / source / 'full' / f'part_{part}.png', RGB[MASK])
    prefix = dict(img_path='*/images', seg_map_path='*/masks', full_seg_map_path='*/full')
    dataset = area_tiles(area, data_prefix=prefix)
    assert [os.path.relpath(dataset[i]['full_seg_map_path'], area) for i in (1, 2)] == ['tile_a/full/part_2.png',
                                                                                       'tile_b/full/part_1.png']
    plain = area_tiles(area, data_prefix=prefix | dict(full_seg_map_path=''))
    assert 'full_seg_map_path' not in plain[0]
    (area / 'tile_b/full/part_1.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"'tile_b/part_1': expected .*full/part_1.png.*full_seg_map_path=''"):
        area_tiles(area, data_prefix=prefix)


def test_full_reference_in_plain_folders(indexed, write_image):
    root = indexed(MASK[:8, :8].astype(np.uint8))
    path = write_image(root / 'full' / 'x.png', MASK[:8, :8].astype(np.uint8))
    dataset = index_tiles(root, data_prefix=dict(img_path='images', seg_map_path='masks', full_seg_map_path='full'))
    assert dataset[0]['full_seg_map_path'] == path


@pytest.mark.parametrize(('patterns', 'dev'), [('part_1', ['tile_a/part_1', 'tile_b/part_1']),
                                               (['tile_b/*'], ['tile_b/part_1', 'tile_b/part_2'])])
def test_the_dev_part_and_the_rest(area, patterns, dev):
    every = area_tiles(area, dev_tiles=patterns).tile_names
    parts = {part: area_tiles(area, dev_tiles=patterns, part=part).tile_names for part in ('dev', 'train')}
    assert len(every) == 4 and parts == dict(dev=dev, train=[name for name in every if name not in dev])


def test_parts_that_are_none(area):
    for options in (dict(part='dev'), dict(part='test', dev_tiles='part_1')):
        with pytest.raises(ValueError, match=f"part='{options['part']}': give 'train' or 'dev', and dev_tiles"):
            area_tiles(area, **options)
    with pytest.raises(ValueError, match=r"dev_tiles='part_\[3-9\]' matches none of the 4 training tiles"):
        area_tiles(area, dev_tiles='part_[3-9]', part='train')
