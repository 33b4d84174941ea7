"""A read-out is an ordinary training: its checkpoint, results, test, maps and resume."""
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from mmengine.runner import ValLoop
from PIL import Image

from egmim_mm.checkpoints import read_checkpoint
from egmim_mm.checks import check_training
from egmim_mm.engine.launch import load_config
from egmim_mm.inference import Segmenter

READOUT = """
_base_ = '{upernet}'
model = dict(
    pixel_features=dict(scale=0.5),
    decode_head=dict(
        _delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4], groups=[[0, 1, 2, 3], [4]]),
    auxiliary_head=None,
    test_cfg=dict(crop_size=(96, 96), stride=(96, 96)))
train_cfg = dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=600, classifiers=[
    dict(type='discriminant', shrinkage=0.1), dict(type='logistic', l2=1e-3)])
optim_wrapper = dict(precision='float32')
"""


PRESET = """
_base_ = '{upernet}'
label_presets = [dict(name='read-out', settings=dict(
    model=dict(
        pixel_features=dict(scale=0.5),
        decode_head=dict(
            _delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4], groups=[[0, 1, 2, 3], [4]]),
        auxiliary_head=None),
    train_cfg=dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=600)))]
"""


def results(work_dir):
    return json.loads((work_dir / 'results.json').read_text())


def log(work_dir):
    return ''.join(path.read_text() for path in work_dir.glob('*/*.log'))


@pytest.fixture(scope='module')
def config(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp('configs') / 'readout.py'
    path.write_text(READOUT.format(upernet=tiny.upernet))
    return path


@pytest.fixture(scope='module')
def trained(config, weights, call, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('readout')
    call('train', config, '--backbone', weights, '--work-dir', work_dir)
    return SimpleNamespace(dir=work_dir, results=results(work_dir), config=work_dir / 'readout.py')


def test_it_learns_and_its_results_are_those_of_a_training(trained):
    found, training = trained.results, trained.results['protocol']['training']
    assert found['metrics']['mIoU'] > 75 and found['training_ended'] is True and found['iteration'] == 1
    assert len(training['labels']['tiles']) == 3 and training['max_iters'] == 1
    assert (training['optimizer_steps'], training['images_seen'], training['lr']) == (0, 3, None)
    assert sorted(found['train_losses']) == ['loss_0', 'loss_1'] and max(found['train_losses'].values()) < 1
    assert found['backbone_source']['path'].endswith('random.pth') and (trained.dir / found['per_image']).is_file()
    assert 'Read-out fitted to cells of 3 tiles: dark 200, middle 200, bright 200' in log(trained.dir)
    assert 'weights are random' not in log(trained.dir)


def test_the_backbone_is_left_as_it_was(trained, weights):
    assert (trained.dir / 'last.pth').resolve().name == 'iter_1.pth'
    before, after = (read_checkpoint(path)['state_dict'] for path in (weights, trained.dir / 'last.pth'))
    own = [name for name in before if name.startswith('backbone.')]
    assert own and all(torch.equal(before[name], after[name]) for name in own)
    assert bool(after['decode_head.fitted'])


def test_it_is_tested_and_makes_maps(trained, tiny, call, tmp_path):
    call('test', trained.config, trained.dir, '--work-dir', tmp_path / 'test')
    assert results(tmp_path / 'test')['metrics']['mIoU'] == pytest.approx(trained.results['metrics']['mIoU'], abs=0.1)
    call('predict', trained.config, trained.dir, tiny.data / 'images/7.png', '--out', tmp_path / 'maps', '--device',
         'cpu')
    with rasterio.open(next((tmp_path / 'maps').glob('7.png'))) as file:
        classes = file.read(1)
    truth = np.array(Image.open(tiny.data / 'masks/7.png'))
    image = np.array(Image.open(tiny.data / 'images/7.png'))
    alone = Segmenter(trained.config, trained.dir, 'cpu')(image)
    assert np.array_equal(classes, alone) and (alone == truth)[3:].mean() > 0.85


def test_a_finished_run_is_not_fitted_again(trained, call, capsys):
    call('train', trained.config, '--work-dir', trained.dir, '--resume')
    assert capsys.readouterr().out.strip().endswith('is finished: 1 of 1 iters, nothing was changed.')


def test_a_run_that_stops_in_its_evaluation_is_resumed_with_it(config, weights, trained, call, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(ValLoop, 'run', lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        call('train', config, '--backbone', weights, '--work-dir', tmp_path)
    call('train', config, '--work-dir', tmp_path, '--resume')
    assert results(tmp_path)['metrics'] == trained.results['metrics'] and results(tmp_path)['training_ended'] is True
    assert log(tmp_path).count('Read-out fitted') == 1


def test_a_preset_of_a_label_budget_can_be_a_read_out(tiny, tmp_path):
    path = tmp_path / 'preset.py'
    path.write_text(PRESET.format(upernet=tiny.upernet))
    cfg = load_config(str(path), budget='2')
    check_training(cfg)
    assert cfg.train_cfg == dict(type='egmim_mm.ReadoutLoop', cells=600, max_iters=1)
    assert cfg.model.decode_head.num_classes == 3 and cfg.label_preset.name == 'read-out'
    assert cfg.train_dataloader.sampler.budget == 2 and cfg.model.auxiliary_head is None


@pytest.fixture(scope='module')
def budgeted(tiny, weights, call, tmp_path_factory):
    """A run whose model is that of a preset; ``config``: what it was started with, which fine-tunes."""
    folder = tmp_path_factory.mktemp('budgeted')
    config = folder / 'preset.py'
    config.write_text(PRESET.format(upernet=tiny.upernet))
    call('train', config, '--backbone', weights, '--budget', '3', '--work-dir', folder / 'run')
    return SimpleNamespace(config=config, dir=folder / 'run', own=folder / 'run/preset.py')


def test_the_config_that_a_run_was_started_with_tests_the_model_of_its_preset(budgeted, call, tmp_path):
    call('test', budgeted.config, budgeted.dir, '--work-dir', tmp_path / 'plain')
    call('test', budgeted.own, budgeted.dir, '--work-dir', tmp_path / 'own')
    assert results(tmp_path / 'plain')['metrics'] == results(tmp_path / 'own')['metrics']
    assert results(tmp_path / 'plain')['metrics']['mIoU'] > 75


def test_its_maps_are_those_of_the_preset_too(budgeted, tiny):
    image = np.array(Image.open(tiny.data / 'images/7.png'))
    plain, own = (Segmenter(config, budgeted.dir, 'cpu', cfg_options={'model.test_cfg.crop_size': (96, 96)})
                  for config in (budgeted.config, budgeted.own))
    assert np.array_equal(plain(image), own(image)) and plain.window == 96


def test_random_weights_are_warned_of(config, call, tmp_path):
    call('train', config, '--work-dir', tmp_path, '--cfg-options', 'val_dataloader=None', 'val_cfg=None',
         'val_evaluator=None')
    assert 'ReadoutLoop keeps the backbone as it is, and its weights are random: the head learns' in log(tmp_path)
    assert results(tmp_path)['phase'] == 'train' and results(tmp_path)['backbone_source'] is None


@pytest.mark.parametrize('options, says', [
    (['train_cfg.cells=2'], 'Error: train_cfg: cells=2 must be at least the number of classes'),
    (['train_cfg.max_iters=9'], 'and max_iters=9 must be 1: everything is fitted at once'),
])
def test_settings_out_of_range(config, call, tmp_path, options, says):
    with pytest.raises(SystemExit) as stopped:
        call('train', config, '--work-dir', tmp_path, '--cfg-options', *options)
    assert says in str(stopped.value)


def test_two_processes_come_to_the_same(config, weights, trained, start, tmp_path):
    start(sys.executable, 'tools/torchrun.py', '--standalone', '--nproc_per_node', '2', 'tools/train.py', config,
          '--launcher', 'pytorch', '--backbone', weights, '--work-dir', tmp_path)
    alone, both = (read_checkpoint(path / 'last.pth')['state_dict'] for path in (trained.dir, tmp_path))
    assert all(torch.equal(alone[name], both[name]) for name in alone)
    assert results(tmp_path)['metrics'] == trained.results['metrics']
