"""One process, two processes and two accumulated parts are one training: batch 8, float32, up to float noise."""
import json

import numpy as np
import pytest
import torch

from egmim_mm.checkpoints import read_checkpoint

# the middle class has no label, so that images differ in their labelled pixels; a part has other batch statistics
# than the whole, so GN; dropout draws anew in each process
IGNORING = """
classes = dict(classes=('dark', 'bright'))
gn = dict(norm_cfg=dict(type='GN', num_groups=4), num_classes=2, dropout_ratio=0.0,
          loss_decode=dict(type='egmim_mm.LabelledCrossEntropyLoss', class_weight=[1.0, 3.0]))
model = dict(backbone=dict(drop_path_rate=0.0), decode_head=gn, auxiliary_head=gn)
train_dataloader = dict(dataset=dict(metainfo=dict(_delete_=True, **classes), mask_values=(0, 2), ignore_values=(1, )))
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = dict(dataset=dict(metainfo=dict(_delete_=True, **classes), mask_values=(0, 2), ignore_values=(1, )))
"""
OPTIONS = ('train_cfg.global_batch=8', 'train_cfg.max_iters=10', 'optim_wrapper.precision=float32',
           'optim_wrapper.optimizer.lr=2e-3', 'train_dataloader.num_workers=0',
           'train_dataloader.persistent_workers=False', 'default_hooks.checkpoint.interval=4',
           'default_hooks.checkpoint.max_keep_ckpts=-1')
PARTS = 'train_cfg.max_batch_per_process=5'  # two of four


@pytest.fixture(scope='module', params=['egmim', 'upernet', 'semi'])
def config(request, tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / f'{request.param}.py'
    path.write_text(f"_base_ = '{getattr(tiny, request.param)}'\n" + IGNORING * (request.param != 'egmim'))
    return path


@pytest.fixture(scope='module')
def work(config, call):
    """Folder of the runs ``one`` (a process) and ``parts`` (it computes two of them)."""
    call('train', config, '--work-dir', config.parent / 'one', '--cfg-options', *OPTIONS)
    call('train', config, '--work-dir', config.parent / 'parts', '--cfg-options', *OPTIONS, PARTS)
    return config.parent


def training(work_dir):
    return json.loads((work_dir / 'results.json').read_text())['protocol']['training']


def scalars(work_dir):
    """Losses, rate and norm of the gradients in each iteration, by name."""
    lines = [json.loads(line) for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in file.read_text().splitlines()]
    lines = [line for line in lines if 'loss' in line]
    names = [name for name in lines[0] if 'loss' in name or name in (
        'lr', 'grad_norm', 'edge', 'hog', 'accepted', 'agreement')]
    return {name: np.array([line[name] for line in lines]) for name in names}


def assert_same_curve(work_dir, other, last=10):
    curves, others = scalars(work_dir), scalars(other)
    assert others.keys() == curves.keys() and len(others['loss']) == last
    for name, values in curves.items():
        np.testing.assert_allclose(others[name], values[-last:], rtol=1e-4, atol=1e-9, err_msg=name)
    first = others['loss'][0], curves['loss'][-last]
    assert first[0] == pytest.approx(first[1], rel=1e-6)


def test_two_parts_give_the_curve_of_the_whole(work):
    assert_same_curve(work / 'one', work / 'parts')
    loss = scalars(work / 'one')['loss']
    assert abs(loss[-1] / loss[0] - 1) > 0.02  # something was learned


def test_two_processes_give_the_curve_of_one(work, config, start):
    start('tools/dist_train.sh', config, '2', '--work-dir', work / 'two', '--cfg-options', *OPTIONS)
    assert_same_curve(work / 'one', work / 'two')
    trained = training(work / 'two')
    assert (trained['global_batch'], trained['processes'], trained['accumulation']) == (8, 2, 1)


def test_a_resumed_run_of_parts_is_exact(work, config, call):
    for name, options in (('parts', [PARTS]), ('one', [])):
        call('train', config, '--work-dir', work / f'{name}_resumed', '--resume', work / 'parts/iter_4.pth',
             '--cfg-options', *OPTIONS, *options)
    whole, resumed = (read_checkpoint(work / name / 'last.pth')['state_dict'] for name in ('parts', 'parts_resumed'))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (scalars(work / 'parts')['loss'][-6:] == scalars(work / 'parts_resumed')['loss']).all()
    # the number of parts may change: the samples and masks go on where they were
    assert_same_curve(work / 'parts', work / 'one_resumed', last=6)


def test_what_is_recorded(work):
    lr = 2e-3 * 2  # the rate stands for four images
    for name, accumulation in (('one', 1), ('parts', 2)):
        trained = training(work / name)
        expected = dict(global_batch=8, processes=1, accumulation=accumulation, lr=lr, optimizer_steps=10,
                        images_seen=80)
        assert {key: trained[key] for key in expected} == pytest.approx(expected)
        lineage = read_checkpoint(work / name / 'iter_4.pth')['meta']['lineage'][-1]
        expected |= dict(optimizer_steps=4, images_seen=32)
        assert {key: lineage[key] for key in expected} == pytest.approx(expected)
    log = next((work / 'parts').glob('*/*.log')).read_text()
    assert 'Batch: 8 images a step over 1 process, in 2 parts of 4' in log
    assert 'Learning rate: x 2, as it stands for 4 images a step and there are 8' in log
