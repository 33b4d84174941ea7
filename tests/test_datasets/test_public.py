"""The registered benchmarks: what their configs gave when they spelled every value out, and nothing applied twice."""
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.datasets import ISPRSDataset

from egmim_mm.checks import LaunchError, check_classes
from egmim_mm.datasets import LabelBudgetSampler, SegmentationTiles, Vaihingen
from egmim_mm.datasets.class_sets import ISAID_16, ISPRS_5, ISPRS_6, LOVEDA_7
from egmim_mm.datasets.public import declared_metainfo
from egmim_mm.inference.segmenter import _class_names
from egmim_mm.registry import DATASETS

LOAD = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')]
# name -> the arguments that the configs spelled out, tile names, file values, classes of these values
ISPRS_FILES = dict(img_suffix='.png', source_pattern=r'(.+?)(?:_\d+){4}$')
ISPRS_CLASSES = [255, 0, 1, 2, 3, 4, 255, 255]
ISPRS_VALUES = [0, 1, 2, 3, 4, 5, 6, 255]
CASES = dict(
    vaihingen=(dict(**ISPRS_5, **ISPRS_FILES), 'area{}_0_0_512_512', ISPRS_VALUES, ISPRS_CLASSES),
    potsdam=(dict(**ISPRS_5, **ISPRS_FILES), '2_1{}_0_0_512_512', ISPRS_VALUES, ISPRS_CLASSES),
    loveda=(dict(**LOVEDA_7, img_suffix='.png'), '{}', [0, 1, 2, 3, 4, 5, 6, 7], [255, 0, 1, 2, 3, 4, 5, 6]),
    isaid=(dict(**ISAID_16, img_suffix='.png', seg_map_suffix='_instance_color_RGB.png', source_pattern=r'(P\d+)_'),
           'P000{}_0_896_0_896', [*range(16), 255], [*range(16), 255]))


@pytest.fixture
def tiles(tmp_path, write_image):
    """Function: six tiles of a benchmark with all its file values, in train and val; returns the folder."""

    def make(name):
        arguments, pattern, values, _ = CASES[name]
        for split in ('train', 'val'):
            for i in range(6):
                stem = pattern.format(i)
                write_image(tmp_path / f'img_dir/{split}/{stem}.png', np.full((4, len(values), 3), i, np.uint8))
                mask = np.array([values] * 4, np.uint8)
                mask[:i % 4] = values[1 + i % 4]  # tiles with different class counts
                for folder in ('ann_dir', 'ann_dir_full'):
                    write_image(tmp_path / folder / split / (stem + arguments.get('seg_map_suffix', '.png')), mask)
        return tmp_path

    return make


@pytest.mark.parametrize('name', CASES)
def test_configs_give_the_tiles_labels_and_budgets_they_gave(tiles, name, request):
    arguments, pattern, values, classes = CASES[name]
    root = tiles(name)
    cfg = Config.fromfile(request.config.rootpath / f'configs/_base_/datasets/{name}.py')
    init_default_scope('mmseg')
    for loader, split in (('train_dataloader', 'train'), ('val_dataloader', 'val'), ('test_dataloader', 'val')):
        ours = DATASETS.build(dict(cfg[loader].dataset, data_root=str(root), pipeline=LOAD))
        spelled = SegmentationTiles(str(root), data_prefix=dict(img_path=f'img_dir/{split}',
                                                                seg_map_path=f'ann_dir/{split}'),
                                    test_mode=split == 'val', pipeline=LOAD, **arguments)
        assert ours.tile_names == spelled.tile_names == [pattern.format(i) for i in range(6)]
        assert ours.metainfo == spelled.metainfo and ours.mask_table == spelled.mask_table
        assert ours.sources == spelled.sources and (ours.class_pixels() == spelled.class_pixels()).all()
        for i in range(6):
            assert (ours[i]['gt_seg_map'] == spelled[i]['gt_seg_map']).all()
            assert ours[i]['img_path'] == spelled[i]['img_path']
        assert ours[0]['gt_seg_map'].tolist() == [classes] * 4
        full = ours[0].get('full_seg_map_path')
        assert (full is not None) == (split == 'val' and name in ('vaihingen', 'potsdam'))
    for unit in ('tile', 'source') if spelled.sources else ('tile', ):
        chosen = [LabelBudgetSampler(data, 3, unit=unit, order_seed=0).tile_names for data in (ours, spelled)]
        assert chosen[0] == chosen[1] and len(chosen[0]) == 3


def test_classes_of_the_heads_and_of_maps_come_from_the_data_set(request):
    root = request.config.rootpath
    for name, class_set in (('vaihingen', ISPRS_5), ('potsdam', ISPRS_5), ('loveda', LOVEDA_7), ('isaid', ISAID_16)):
        cfg = Config.fromfile(root / f'configs/upernet_{name}.py')
        check_classes(cfg)
        classes, palette = _class_names(cfg)
        assert classes == class_set['metainfo']['classes'] and palette.tolist() == class_set['metainfo']['palette']
        cfg.model.decode_head.num_classes += 1
        with pytest.raises(LaunchError, match=f'but the data has {len(classes)} classes'):
            check_classes(cfg)


def test_six_isprs_classes_by_argument(tiles, request):
    root = tiles('vaihingen')
    prefix = dict(img_path='img_dir/train', seg_map_path='ann_dir/train')
    six = Vaihingen(str(root), num_classes=6, data_prefix=prefix, pipeline=LOAD)
    assert six.metainfo['classes'] == ISPRS_6['metainfo']['classes'] and six.metainfo['label_map'] is None
    assert six[0]['gt_seg_map'][0].tolist() == [255, 0, 1, 2, 3, 4, 5, 255] and six.class_pixels().shape == (6, 6)
    assert np.array_equal(six.metainfo['palette'], ISPRSDataset.METAINFO['palette'])
    own = dict(classes=('built', 'green', 'car'), palette=['#FF0000', '#00FF00', '#0000FF'])
    merged = Vaihingen(str(root), data_prefix=prefix, pipeline=LOAD, metainfo=own, mask_values=(2, 3, 5),
                       ignore_values=(0, 1, 4, 6))
    assert merged[0]['gt_seg_map'][0].tolist() == [255, 255, 0, 1, 255, 2, 255, 255]
    for build in (lambda: Vaihingen(str(root), num_classes=7),
                  lambda: declared_metainfo(dict(type='egmim_mm.Vaihingen', num_classes=7))):
        with pytest.raises(ValueError, match='Vaihingen has 5 or 6 classes, not num_classes=7'):
            build()
    cfg = Config.fromfile(request.config.rootpath / 'configs/upernet_vaihingen.py')
    cfg.test_dataloader.dataset.num_classes = 6
    assert len(_class_names(cfg)[0]) == 6
    with pytest.raises(LaunchError, match='num_classes is 5, but the data has 6 classes'):
        check_classes(cfg)


def test_the_budget_sampler_of_isaid_counts_images(tiles, request):
    cfg = Config.fromfile(request.config.rootpath / 'configs/_base_/datasets/isaid.py')
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.update(data_root=str(tiles('isaid')), pipeline=LOAD)
    cfg.train_dataloader.sampler.budget = 2
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    assert loader.sampler.unit == 'source' and len(loader.sampler.tile_names) == 2


def test_ignored_values_are_applied_once(tiles):
    root = str(tiles('loveda'))
    prefix = dict(data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'))
    build = lambda pipeline, **options: DATASETS.build(  # noqa: E731
        dict(type='egmim_mm.LoveDA', data_root=root, pipeline=pipeline, **prefix, **options))
    with pytest.raises(ValueError, match='loads the mask twice'):
        build([*LOAD, LOAD[1]])[0]
    for extra in (dict(type='LoadAnnotations'), dict(type='mmseg.LoadAnnotations', reduce_zero_label=True)):
        for pipeline in ([LOAD[0], extra], [*LOAD, extra], [LOAD[0], dict(type='RandomApply', transforms=[extra])]):
            with pytest.raises(ValueError, match='LoadAnnotations, which knows neither mask_values'):
                build(pipeline)
    with pytest.raises(ValueError, match='reduce_zero_label=True is not supported'):
        build(LOAD, reduce_zero_label=True)
    sample = build([*LOAD, dict(type='mmseg.PackSegInputs')])[0]
    assert not sample['data_samples'].metainfo['reduce_zero_label']
    assert sample['data_samples'].gt_sem_seg.data[0, 0].tolist() == [255, 0, 1, 2, 3, 4, 5, 6]
    once = build(LOAD)[0]
    with pytest.raises(ValueError, match='loads the mask twice'):
        build(LOAD).pipeline(once)
