"""--dev: which tiles are trained on and which are evaluated."""
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from egmim_mm.checks import LaunchError
from egmim_mm.converters import potsdam, vaihingen
from egmim_mm.engine.dev_part import use_dev_part
from egmim_mm.engine.launch import load_config
from egmim_mm.evaluation.protocol import evaluated_part
from egmim_mm.registry import DATASETS
from egmim_mm.storage.image_files import matches_any

DUBAI = [f'tile_{area}/image_part_{part:03d}' for area in range(1, 9) for part in range(1, 7)]


def of(areas):
    return [f'{area}_{corner}_0_512_512' for area in areas for corner in (0, 512)]


@pytest.mark.parametrize(('config', 'names', 'dev'), [
    ('_base_/datasets/dubai', DUBAI, [name for name in DUBAI if name[-1] in '56']),
    ('_base_/datasets/vaihingen', of(vaihingen.SPLITS['train']), of(['area15', 'area28', 'area34'])),
    ('_base_/datasets/potsdam', of(potsdam.SPLITS['train']), of(['6_7', '6_8', '7_7', '7_8'])),
    ('_base_/datasets/loveda', list(map(str, range(2522))),
     list(map(str, [*range(1000, 1200), *range(2300, 2500)]))),
    ('_base_/datasets/isaid', [f'P{number:04d}_0_896_0_896' for number in range(2806)],
     [f'P{number:04d}_0_896_0_896' for number in range(7, 2806, 10)]),
    ('quickstart/upernet', [f'scene_{number:05d}' for number in range(200)],
     [f'scene_{number:05d}' for number in range(180, 200)]),
])
def test_the_dev_part_of_each_config_is_whole_places(request, config, names, dev):
    patterns = Config.fromfile(request.config.rootpath / f'configs/{config}.py').dev_tiles
    assert [name for name in names if matches_any(patterns, name)] == dev


def shipped(request, name, **options):
    return load_config(str(request.config.rootpath / f'configs/{name}.py'), dev=True, options=options or None)


def test_validation_and_test_read_the_dev_part(request):
    cfg = shipped(request, 'upernet_vaihingen', **{'train_dataloader.dataset.data_root': 'elsewhere'})
    patterns = ['area15_*', 'area28_*', 'area34_*']
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    assert (train.part, train.dev_tiles, test.part, test.dev_tiles) == ('train', patterns, 'dev', patterns)
    # as the test was read, with the full reference that lies beside the eroded one
    assert test.data_prefix == dict(img_path='img_dir/train', seg_map_path='ann_dir/train',
                                    full_seg_map_path='ann_dir_full/train')
    assert test.type == 'egmim_mm.Vaihingen' and test.test_mode and test.data_root == 'elsewhere'
    assert [step.type for step in test.pipeline] == ['egmim_mm.LoadTile', 'egmim_mm.LoadTileMask', 'PackSegInputs']
    assert cfg.val_dataloader.dataset == test and 'full_seg_map_path' not in train.data_prefix
    assert evaluated_part(cfg, 'val') == evaluated_part(cfg, 'test') == 'dev'


def test_a_config_without_validation_keeps_none(request):
    cfg = shipped(request, 'quickstart/upernet')
    assert cfg.val_dataloader is None and cfg.test_dataloader.dataset.data_prefix.img_path == 'img_dir/train'


@pytest.fixture
def areas(tmp_path, write_image, request):
    """Config of two areas with nine parts each, named as those of Dubai."""
    for area in (1, 2):
        for part in range(1, 10):
            stem = f'tile_{area}/{{}}/image_part_00{part}'
            write_image(tmp_path / f'{stem.format("images")}.jpg', np.zeros((8, 8, 3), np.uint8))
            write_image(tmp_path / f'{stem.format("masks")}.png', np.full((8, 8, 3), (60, 16, 152), np.uint8))
    cfg = Config.fromfile(request.config.rootpath / 'configs/upernet_dubai.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(tmp_path)
    return cfg


def names(cfg, loader):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(dict(cfg[loader].dataset, pipeline=[])).tile_names


def test_no_test_image_and_no_dev_image_is_trained_on(areas):
    areas.dev_tiles = '*part_00[5-9]'  # reaches into the test part
    use_dev_part(areas)
    assert names(areas, 'train_dataloader') == [f'tile_{a}/image_part_00{p}' for a in (1, 2) for p in (1, 2, 3, 4)]
    assert names(areas, 'test_dataloader') == [f'tile_{a}/image_part_00{p}' for a in (1, 2) for p in (5, 6)]
    use_dev_part(areas)  # a saved config of such a run
    assert names(areas, 'val_dataloader') == names(areas, 'test_dataloader')


@pytest.mark.parametrize(('patterns', 'says'), [
    (['*part_009'], r"dev_tiles=\['\*part_009'\] matches none of the 12 training tiles \(tile_1/image_part_001, ...\)"),
    (['*'], 'matches all of the 12 training tiles')])
def test_patterns_that_leave_nothing_are_refused(areas, patterns, says):
    areas.dev_tiles = patterns
    use_dev_part(areas)
    for loader in ('train_dataloader', 'test_dataloader'):
        with pytest.raises(ValueError, match=says):
            names(areas, loader)


def test_what_has_no_dev_part_is_refused(areas, request):
    with pytest.raises(LaunchError, match='--dev: .*egmim_dapt_dubai.py does not say which training tiles are its dev'):
        shipped(request, 'egmim_dapt_dubai')
    areas.dev_tiles = [6, 7]
    with pytest.raises(LaunchError, match=r'dev_tiles=\[6, 7\]: give shell patterns as text'):
        use_dev_part(areas)
    areas.dev_tiles, areas.train_dataloader.dataset.type = ['x*'], 'BaseSegDataset'
    with pytest.raises(LaunchError, match='by their names, and BaseSegDataset has none'):
        use_dev_part(areas)
