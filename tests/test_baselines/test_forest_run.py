"""The forest as a user runs it: tiles of a config, results.json, maps; and what it refuses."""
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from toy_scenes import CLASSES, classes_of, read_raster, scene, write_raster

from egmim_mm.baselines.forest_fitting import ForestSettings
from egmim_mm.baselines.forest_run import labelled_tiles, run_forest
from egmim_mm.baselines.forest_segmenter import ForestSegmenter
from egmim_mm.checks import label_checks
from egmim_mm.evaluation.confusion import segmentation_scores
from egmim_mm.evaluation.per_image import read_per_image
from egmim_mm.inference import predict_raster
from egmim_mm.records.provenance import file_sha256

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
default_scope = 'mmseg'
load = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')]
tiles = dict(
    type='egmim_mm.SegmentationTiles', data_root={root!r}, img_suffix='.png',
    metainfo=dict(classes={classes!r}, palette=[[0, 0, 255], [0, 255, 0], [255, 255, 255]]))
train_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='egmim_mm.LabelBudgetSampler', budget=2, seed=0),
    dataset=dict(include='train_*', pipeline=[*load, dict(type='PackSegInputs')], **tiles))
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(include='test_*', test_mode=True, pipeline=[*load, dict(type='PackSegInputs', meta_keys=(
        'img_path', 'tile_name'))], **tiles))
test_evaluator = [dict(type='egmim_mm.SegmentationMetric', bootstrap_draws=20),
                  dict(type='egmim_mm.BoundaryMetric', widths=(3, ), diagonal_share=None)]
"""
OPTIONS = [ForestSettings(scale=1.0, pixels=600, trees=5), ForestSettings(scale=0.5, pixels=600, trees=5)]


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp('forest_tiles')
    for seed, name in enumerate(('train_0', 'train_1', 'train_2', 'test_0', 'test_1')):
        image, labels = scene(seed=seed)
        if name == 'train_2':
            labels[:] = 255
        write_raster(root / f'images/{name}.png', image, driver='PNG')
        write_raster(root / f'masks/{name}.png', labels, driver='PNG')
    path = root / 'toy.py'
    path.write_text(CONFIG.format(root=str(root), classes=CLASSES))
    return path


@pytest.fixture(scope='module')
def fitted(config, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('forest')
    run_forest(Config.fromfile(config), work_dir, '2', 0, OPTIONS)
    return work_dir


def test_results_are_those_of_a_training_run(fitted, config):
    results = json.loads((fitted / 'results.json').read_text())
    assert (results['strategy'], results['phase'], results['backbone_source']) == ('forest', 'test', None)
    assert results['metrics']['mIoU'] > 85 and 20 < results['metrics']['boundary_mIoU_3px'] <= 100
    assert results['units']['mIoU'] == results['units']['boundary_mIoU_3px'] == '%'
    assert results['confidence']['images'] == 2
    assert results['protocol']['classes'] == CLASSES and results['protocol']['evaluation']['num_tiles'] == 2
    training = results['protocol']['training']
    assert (training['labels']['budget'], training['labels']['seed'], training['seed']) == ('2', 0, 0)
    _, sampler, _ = labelled_tiles(Config.fromfile(config), 2, 0)
    assert training['labels']['tiles'] == sampler.tile_names and 'train_2' not in sampler.tile_names
    assert [row['scale'] for row in training['compared']] == [1.0, 0.5]
    assert training['settings']['scale'] == max(training['compared'], key=lambda row: row['mIoU'])['scale']
    assert results['checkpoint'] == dict(path=str(fitted / 'forest.npz'), sha256=file_sha256(fitted / 'forest.npz'))
    assert results['duration_s']['training'] > 0 and results['duration_s']['evaluation'] > 0


def test_counts_of_each_image_add_up_to_the_scores(fitted):
    results = json.loads((fitted / 'results.json').read_text())
    names, counts = read_per_image(fitted / results['per_image'])
    assert names == ['test_0', 'test_1'] and set(counts) == {'confusion', 'boundary_iou_3px', 'boundary_f1_3px'}
    assert counts['confusion'].sum((1, 2)).tolist() == [64 * 64] * 2
    assert segmentation_scores(counts['confusion'].sum(0), CLASSES)['mIoU'] == results['metrics']['mIoU']
    hit, union = counts['boundary_iou_3px'].sum(0)
    assert 100 * np.mean(hit / union) == pytest.approx(results['metrics']['boundary_mIoU_3px'])


def test_maps_of_rasters_from_the_file_alone(fitted, tmp_path):
    image, labels = scene(160, seed=9)
    raster, out = write_raster(tmp_path / 'area.tif', image), tmp_path / 'map.tif'
    segmenter = ForestSegmenter(fitted)
    assert (segmenter.classes, segmenter.bands) == (tuple(CLASSES), 3)
    predict_raster(segmenter, raster, out, window=96)
    assert (read_raster(out)[..., 0] == labels).mean() > 0.93
    whole, mirrored = segmenter(image), ForestSegmenter(fitted / 'forest.npz', tta=True)(image)
    assert (whole == classes_of(image)).mean() > 0.93 and (mirrored == whole).mean() > 0.97
    shares = segmenter.probabilities([image[:64, :64]])
    assert shares.shape == (1, 3, 64, 64) and np.allclose(shares.sum(1), 1, atol=1e-5)


def tool(*arguments):
    runpy.run_path(str(ROOT / 'tools/baseline.py'))['main']([str(argument) for argument in arguments])


def test_tool_fits_and_predicts(config, tmp_path, capsys):
    work_dir = tmp_path / 'run'
    tool('forest', config, '--budget', '1', '--seed', '1', '--work-dir', work_dir, '--scale', 1, '--trees', 4,
         '--pixels', 300)
    said = capsys.readouterr().out
    assert 'mIoU ' in said and 'One labelled tile: none can be left out to compare settings' in said
    results = json.loads((work_dir / 'results.json').read_text())
    assert len(results['protocol']['training']['labels']['tiles']) == 1
    assert results['protocol']['training']['settings'] == dict(scale=1.0, min_leaf=1, pixels=300, trees=4)
    assert Config.fromfile(work_dir / 'toy.py').test_evaluator[1].widths == (3, )
    write_raster(tmp_path / 'imagery/area.tif', scene(96)[0])
    tool('predict', work_dir, tmp_path / 'imagery', '--out', tmp_path / 'maps', '--confidence')
    assert '1 map made in ' in capsys.readouterr().out
    assert {path.name for path in (tmp_path / 'maps').iterdir()} == {'area.tif', 'area_confidence.tif'}


@pytest.mark.parametrize(('budget', 'says'), [
    (0, 'label budget 0 labels nothing'), (4, 'label budget 4 is larger than the data, which has 3 tiles'),
    ('x', "label budget 'x' is not a number"),
])
def test_budgets_that_cannot_be_had(config, tmp_path, budget, says):
    with pytest.raises(SystemExit, match=f'^Error: {says}'):
        tool('forest', config, '--budget', budget, '--work-dir', tmp_path)
    assert not (tmp_path / 'results.json').exists()


def test_tiles_without_labels(config, tmp_path):
    only = 'train_dataloader.dataset.include=train_2'
    with pytest.raises(SystemExit, match=r'^Error: there is nothing to learn from: the labelled tile \(train_2\)'):
        tool('forest', config, '--budget', 1, '--work-dir', tmp_path, '--cfg-options', only)


def test_data_without_masks(config, tmp_path):
    cfg = Config.fromfile(config)
    cfg.train_dataloader.dataset.data_prefix = dict(img_path='images')
    with pytest.raises(ValueError, match='was set up without masks'):
        run_forest(cfg, tmp_path, 1, 0, OPTIONS)


def test_class_in_no_labelled_tile_is_said(config, tmp_path, write_image, monkeypatch):
    said = []
    monkeypatch.setattr(label_checks, 'print_log', lambda text, **_: said.append(text))
    image, labels = scene(seed=0)
    labels[labels == 2] = 255
    write_image(tmp_path / 'images/train_0.png', image)
    write_image(tmp_path / 'masks/train_0.png', labels)
    cfg = Config.fromfile(config)
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    metrics = run_forest(cfg, tmp_path / 'run', 1, 0, OPTIONS[:1])['metrics']
    assert said == ['Class building cannot be learned: the labelled tile (train_0) holds no pixel of it; no tile of '
                    f'{tmp_path} does either']
    assert metrics['IoU/building'] == 0 and metrics['IoU/water'] > 10


def test_config_without_the_part_is_refused(config, tmp_path):
    with pytest.raises(SystemExit, match='^Error: .*toy.py has no val_dataloader or no val_evaluator'):
        tool('forest', config, '--part', 'val', '--work-dir', tmp_path)


def test_files_that_hold_no_forest(tmp_path):
    with pytest.raises(FileNotFoundError, match='forest.npz does not exist; tools/baseline.py forest writes it'):
        ForestSegmenter(tmp_path)
    (tmp_path / 'text.npz').write_text('no arrays')
    np.savez(tmp_path / 'other.npz', roots=np.zeros(1))
    np.savez(tmp_path / 'pickled.npz', roots=np.array([dict(a=1)], dtype=object))
    for name in ('text', 'other', 'pickled'):
        with pytest.raises(ValueError, match=f'{name}.npz holds no forest of tools/baseline.py'):
            ForestSegmenter(tmp_path / f'{name}.npz')


def test_the_dev_part_is_evaluated_and_not_learned_from(config, tmp_path):
    tool('forest', config, '--budget', '50%', '--dev', '--work-dir', tmp_path, '--scale', 1, '--trees', 2,
         '--pixels', 90, '--min-leaf', 1, '--cfg-options', 'dev_tiles=train_1')
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['part'] == 'dev' and read_per_image(tmp_path / 'per_image.npz')[0] == ['train_1']
    assert results['protocol']['training']['labels']['tiles'] == ['train_0']
    assert results['protocol']['training']['split']['num_tiles'] == 2
    with pytest.raises(SystemExit, match='^Error: --dev: .*toy.py does not say which training tiles are its dev part'):
        tool('forest', config, '--dev', '--work-dir', tmp_path)


def test_labelled_tiles_of_different_bands(config, tmp_path, write_image):
    cfg = Config.fromfile(config)
    for name, bands in (('a', ()), ('b', (3, ))):
        write_image(tmp_path / f'images/{name}.png', np.zeros((8, 8, *bands), np.uint8))
        write_image(tmp_path / f'masks/{name}.png', np.zeros((8, 8), np.uint8))
    cfg.train_dataloader.dataset.update(data_root=str(tmp_path), include='*')
    both = '/a.png has 1 band and .*/b.png has 3|/b.png has 3 bands and .*/a.png has 1'  # in the order of choice
    with pytest.raises(ValueError, match=both):
        run_forest(cfg, tmp_path / 'run', 2, 0)
