"""Labels that cannot teach are named before a training."""
import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from egmim_mm.checks import LaunchError, label_checks
from egmim_mm.checks.label_checks import check_labels
from egmim_mm.storage.tile_reading import TileReadError

CLASSES = ('ground', 'roof', 'road')


@pytest.fixture
def write_tiles(tmp_path, write_image):
    """Function: tiles of 8 x 8 px with these masks, and a config that trains on them."""

    def write(masks, budget=None, kind='egmim_mm.SegmentationTiles', **dataset):
        for name, mask in masks.items():
            mask = np.asarray(mask, np.uint8)
            mask = np.broadcast_to(mask, (8, 8) if mask.ndim < 2 else mask.shape).copy()
            write_image(tmp_path / 'data/images' / f'{name}.png', np.zeros((8, 8, 3), np.uint8))
            write_image(tmp_path / 'data/masks' / f'{name}.png', mask)
        sampler = dict(type='DefaultSampler') if budget is None else dict(
            type='egmim_mm.LabelBudgetSampler', budget=budget, seed=0)
        dataset.setdefault('metainfo', dict(classes=CLASSES))
        return Config(dict(train_dataloader=dict(batch_size=1, num_workers=0, sampler=sampler, dataset=dict(dict(
            type=kind, data_root=str(tmp_path / 'data'), img_suffix='.png', pipeline=[],
            data_prefix=dict(img_path='images', seg_map_path='masks')), **dataset))))

    return write


def check(cfg):
    with DefaultScope.overwrite_default_scope('mmseg'):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        check_labels(loader.dataset, loader.sampler)


@pytest.fixture
def warnings_of(monkeypatch):
    """Function: the warnings for a config."""
    messages = []
    monkeypatch.setattr(label_checks, 'print_log', lambda message, **options: messages.append(message))

    def collect(cfg):
        messages.clear()
        check(cfg)
        return list(messages)

    return collect


def halves(left, right):
    return np.repeat([[left] * 4 + [right] * 4], 8, 0)


def test_good_labels_are_passed_over_in_silence(write_tiles, warnings_of):
    assert warnings_of(write_tiles(dict(a=halves(0, 1), b=halves(2, 255)))) == []


def test_a_class_that_no_tile_holds(write_tiles, warnings_of):
    message, = warnings_of(write_tiles(dict(a=halves(0, 1), b=1)))
    assert message.startswith('Class road cannot be learned: the labelled tiles (a, b) hold no pixel of it; no tile')
    assert message.endswith('data does either')


def test_a_class_that_only_other_tiles_hold(write_tiles, warnings_of):
    cfg = write_tiles(dict(a=halves(0, 1), b=halves(0, 1), c=2, d=2), budget=1)
    message, = warnings_of(cfg)
    assert message == ('Class road cannot be learned: the labelled tile (a) holds no pixel of it; 2 other tiles hold '
                       'it (c, d): a larger label budget or another train_dataloader.sampler.seed would take them in')
    cfg.train_dataloader.sampler.budget = 2
    assert warnings_of(cfg) == []  # the sampler covers every class as soon as it can


def test_tiles_without_a_label(write_tiles, warnings_of):
    masks = dict(a=halves(0, 1), b=2) | {f'void_{number}': 255 for number in range(7)}
    message, = warnings_of(write_tiles(masks))
    assert message.startswith('7 of 9 labelled tiles teach nothing, because all their pixels are ignored: '
                              'void_0, void_1, void_2, void_3, void_4, ... 7 in all. The masks hold 255, and 255')


def test_nothing_to_learn_from_is_an_error(write_tiles):
    with pytest.raises(LaunchError) as caught:
        check(write_tiles(dict(a=255, b=7), ignore_values=(7, )))
    assert str(caught.value).startswith(
        'there is nothing to learn from: the labelled tiles (a, b) hold no labelled pixel, only ignored ones. The '
        'masks hold 7, 255, and 7 and 255 counts as not labelled')


def test_binary_masks_of_0_and_255(write_tiles, warnings_of):
    binary = dict(metainfo=dict(classes=('background', 'roof')))
    masks = dict(a=halves(0, 255), b=255, c=0)
    cfg = write_tiles(masks, **binary)
    messages = warnings_of(cfg)
    assert messages[0].startswith('Class roof cannot be learned: the labelled tiles (a, b, c) hold no pixel of it; no ')
    assert messages[0].endswith('. The masks hold 0, 255, and 255 counts as not labelled: if it stands for a class, '
                                'list it, mask_values=(0, 255)')
    assert messages[1].startswith('1 of 3 labelled tiles teach nothing, because all their pixels are ignored: b')
    cfg.train_dataloader.dataset.mask_values = (0, 255)
    assert warnings_of(cfg) == []  # read as two classes, as the config now says


@pytest.mark.parametrize('kind, says', [
    ('Vaihingen', 'there is nothing to learn from'), ('Potsdam', 'there is nothing to learn from'),
    ('LoveDA', 'there is nothing to learn from'), ('ISAID', None)])
def test_masks_of_0_and_255_in_each_benchmark(write_tiles, warnings_of, kind, says):
    cfg = write_tiles(dict(P1_a=halves(0, 255)), kind=f'egmim_mm.{kind}', metainfo=None, seg_map_suffix='.png',
                      source_pattern=None)
    del cfg.train_dataloader.dataset.metainfo
    if says:  # both values mean "no label"
        with pytest.raises(LaunchError, match=f'{says}.*The masks hold 0, 255, and 0 and 255 counts as not labelled'):
            check(cfg)
    else:  # background and padding
        messages = warnings_of(cfg)
        assert len(messages) == 15 and messages[0].startswith('Class ship cannot be learned')
        assert '255 counts as not labelled' in messages[0]


def test_colour_masks(write_tiles, warnings_of):
    black_and_white = np.zeros((8, 8, 3), np.uint8)
    black_and_white[:4] = 255
    cfg = write_tiles(dict(a=black_and_white), mask_format='color', mask_values=('#000000', '#0000FF'),
                      ignore_values=('#FFFFFF', ), metainfo=dict(classes=('background', 'roof')))
    message, = warnings_of(cfg)
    assert message.endswith("The masks hold #000000, #FFFFFF, and #FFFFFF counts as not labelled: if it stands for a "
                            "class, list it, mask_values=('#000000', '#FFFFFF')")


def test_masks_are_read_once_and_kept_beside_the_data(write_tiles, warnings_of):
    cfg = write_tiles({str(number): halves(0, 1) for number in range(9)}, budget=3, check_first=0)
    first = warnings_of(cfg)
    assert len(list(Path(cfg.train_dataloader.dataset.data_root, '.egmim_cache').glob('*.npy'))) == 1
    for mask in Path(cfg.train_dataloader.dataset.data_root, 'masks').iterdir():
        times = mask.stat().st_atime_ns, mask.stat().st_mtime_ns
        mask.write_bytes(bytes(mask.stat().st_size))  # not an image any more, though size and time are the same
        os.utime(mask, ns=times)
    assert warnings_of(cfg) == first != []


def test_a_hint_reads_a_few_masks_only(write_tiles, warnings_of, monkeypatch):
    reads = []
    whole = label_checks.read_raw
    monkeypatch.setattr(label_checks, 'read_raw', lambda *args: reads.append(args[0]) or whole(*args))
    warnings_of(write_tiles({f'{number:02}': halves(0, 255) for number in range(12)}))
    assert len(set(reads)) == 5


def test_images_without_labels_are_left_alone(write_tiles, warnings_of):
    cfg = write_tiles(dict(a=0))
    folder = cfg.train_dataloader.dataset.data_root
    cfg.train_dataloader.dataset = dict(type='egmim_mm.UnlabeledTiles', data_root=folder)
    assert warnings_of(cfg) == []


def stock(write_tiles, masks, kind='BaseSegDataset', **options):
    """A data set of MMSegmentation on the same tiles."""
    cfg = write_tiles(masks, kind=kind, **options)
    return Config(cfg.to_dict() | dict(train_dataloader=cfg.train_dataloader.to_dict() | dict(
        dataset=dict(dict(pipeline=[dict(type='LoadAnnotations')], seg_map_suffix='.png'),
                     **{k: v for k, v in cfg.train_dataloader.dataset.to_dict().items() if k != 'pipeline'}))))


def test_a_data_set_of_mmsegmentation(write_tiles, warnings_of):
    assert warnings_of(stock(write_tiles, dict(a=halves(0, 1), b=halves(2, 255)))) == []
    message, = warnings_of(stock(write_tiles, dict(a=halves(0, 1), b=1)))
    assert message.startswith('Class road cannot be learned: the labelled tiles (masks/a, masks/b) hold no pixel of it')
    with pytest.raises(LaunchError, match='nothing to learn from.*The masks hold 7, 255, and 7 and 255 counts as not '
                       'labelled$'):
        check(stock(write_tiles, dict(a=255, b=7)))


def test_zero_means_no_label_in_mmsegmentation(write_tiles, warnings_of):
    message, = warnings_of(stock(write_tiles, dict(a=halves(0, 1), b=2), reduce_zero_label=True))
    assert message.startswith('Class road cannot be learned')  # 3 in the files
    assert warnings_of(stock(write_tiles, dict(a=halves(3, 1), b=2), reduce_zero_label=True)) == []


def test_classes_that_mmsegmentation_takes_out_of_more(write_tiles, warnings_of):
    masks = dict(a=halves(1, 5))  # background and barren, of seven classes
    chosen = dict(classes=('agricultural', 'barren'))
    message, = warnings_of(stock(write_tiles, masks, kind='LoveDADataset', metainfo=chosen))
    assert message.startswith('Class agricultural cannot be learned')
    assert warnings_of(stock(write_tiles, dict(a=halves(7, 5)), kind='LoveDADataset', metainfo=chosen)) == []


def test_masks_that_are_read_in_another_way_are_left_alone(write_tiles, warnings_of):
    cfg = stock(write_tiles, dict(a=255))
    cfg.train_dataloader.dataset.pipeline = []
    assert warnings_of(cfg) == []


def test_the_data_set_of_the_training_is_not_built_again(write_tiles, monkeypatch):
    loader = Runner.build_dataloader(write_tiles(dict(a=halves(0, 1), b=halves(2, 255)), budget=2).train_dataloader, 0)
    monkeypatch.setattr('egmim_mm.datasets.segmentation.find_pairs', None)
    monkeypatch.setattr('egmim_mm.datasets.class_counts.count_classes', None)
    check_labels(loader.dataset, loader.sampler)


def test_labelled_tiles_of_different_bands_are_both_named(write_tiles, warnings_of, write_image, tmp_path):
    cfg = write_tiles({'a': halves(0, 1), 'b': halves(1, 2), 'c': halves(0, 2)}, budget=3)
    write_image(tmp_path / 'data/images/a.png', np.zeros((8, 8, 4), np.uint8))  # alpha is no band
    assert warnings_of(cfg) == []
    write_image(tmp_path / 'data/images/c.png', np.zeros((8, 8), np.uint8))
    with pytest.raises(TileReadError, match=r'images/c.png has 1 band and .*images/a.png has 3: labelled tiles need'):
        check(cfg)
    cfg.train_dataloader.dataset.include = '[ab]'  # the tile is not labelled
    cfg.train_dataloader.sampler.budget = 2
    assert warnings_of(cfg) == []
