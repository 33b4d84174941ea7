"""The second stage through the tools: trained, resumed, tested, mapped; and what is refused before training."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from egmim_mm.checkpoints import read_checkpoint

SEMI = """
_base_ = ['{upernet}', '{root}/configs/_base_/second_stage.py']
model = dict(_base_.second_stage.model, threshold=0.4, adaptive=True, edge_trust=dict())
train_pipeline = [
    dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask'),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=64), dict(type='RandomFlip', prob=0.5),
    dict(type='egmim_mm.PackTiles')]
train_cfg = dict(global_batch=4, max_iters=4)
auto_scale_lr = dict(base_batch_size=4)
train_dataloader = dict(sampler=_base_.second_stage.sampler, dataset=dict(pipeline=train_pipeline))
custom_hooks = [dict(type='egmim_mm.MeanTeacherHook', allow_test_tiles=True)]
label_presets = _base_.second_stage.label_presets
val_dataloader = val_cfg = val_evaluator = None
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=-1), logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def config(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp('semi') / 'semi.py'
    path.write_text(SEMI.format(upernet=tiny.upernet, root=Path(__file__).resolve().parents[2]))
    return path


@pytest.fixture(scope='module')
def whole(config, call, tmp_path_factory):
    """Work dir of a run that nobody has stopped."""
    work = tmp_path_factory.mktemp('work') / 'whole'
    call('train', config, '--work-dir', work, '--budget', '3')
    return work


def test_log_and_protocol(whole):
    lines = [json.loads(line) for file in whole.glob('*/vis_data/scalars.json') for line in
             file.read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert np.isfinite(line['loss']) and 0 <= line['accepted'] <= 1 and 0 <= line['agreement'] <= 1
        assert line['loss'] == pytest.approx(line['decode.loss_ce'] + line['aux.loss_ce'] + line['loss_unlabelled'],
                                             rel=1e-4)
        shares = [line[f'accepted_{name}'] for name in ('dark', 'middle', 'bright')]
        assert sum(shares) == pytest.approx(float(line['accepted'] > 0), abs=1e-5)
    labels = json.loads((whole / 'results.json').read_text())['protocol']['training']['labels']
    assert len(labels['tiles']) == 3 and labels['unlabelled'] == 5 and labels['labelled_share'] == 0.5


def test_a_resumed_run_is_the_uninterrupted_one(config, whole, call, tmp_path):
    call('train', config, '--work-dir', tmp_path, '--budget', '3', '--resume', whole / 'iter_2.pth')
    ours, theirs = (read_checkpoint(work / 'last.pth')['state_dict'] for work in (tmp_path, whole))
    assert ours.keys() == theirs.keys() and {key.split('.')[0] for key in ours} == {
        'student', 'teacher', 'class_thresholds'}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(not torch.equal(theirs[key], theirs[key.replace('teacher', 'student', 1)]) for key in theirs
               if key.startswith('teacher.'))


def test_parts_of_a_batch_are_the_same_share(config, call, tmp_path):
    call('train', config, '--work-dir', tmp_path, '--budget', '3', '--cfg-options', 'train_cfg.max_iters=1',
         'train_cfg.global_batch=8', 'train_cfg.max_batch_per_process=4')
    assert 'in 2 parts of 4' in next(tmp_path.glob('*/*.log')).read_text()


def test_the_teacher_is_tested_and_mapped(config, whole, tiny, call, tmp_path):
    from egmim_mm.inference import Segmenter

    call('test', config, whole, '--work-dir', tmp_path, '--out', tmp_path / 'maps')
    image = np.array(Image.open(tiny.data / 'images' / '0.png'))
    tested = np.array(Image.open(tmp_path / 'maps' / '0.png'))
    segmenter = Segmenter(config, whole)
    assert type(segmenter.model).__name__ == 'FittedEncoderDecoder' and tested.shape == image.shape[:2]
    weights = read_checkpoint(whole / 'last.pth')['state_dict']
    name = 'decode_head.conv_seg.weight'
    assert torch.equal(segmenter.model.state_dict()[name], weights[f'teacher.{name}'])
    student = Segmenter(config, whole, cfg_options={'model.predict_with': 'student'})
    assert torch.equal(student.model.state_dict()[name], weights[f'student.{name}'])


@pytest.mark.parametrize(('options', 'says'), [
    (('custom_hooks.0.allow_test_tiles=False', ),
     r'5 of the unlabelled images are those that test_dataloader evaluates, such as .*\.png: a score'),
    (('train_dataloader.sampler.labelled_share=0', ), 'labelled_share is 0: a share of each batch above 0 and below 1'),
    (('train_dataloader.sampler.labelled_share=0.3', ), 'a process computes 4 images at once, of which 3/10 cannot be'),
    (('train_dataloader.sampler.labelled_share=0.25', ),
     '1 of the 4 images that a process computes at once are labelled, and both kinds are computed apart'),
    (('model.threshold=1.2', ), 'model.threshold is 1.2: a probability above 0 and below 1'),
])
def test_refused_before_training(config, call, tmp_path, capsys, options, says):
    with pytest.raises(SystemExit) as end:
        call('train', config, '--work-dir', tmp_path, '--budget', '3', '--cfg-options', *options)
    line = end.value.code if isinstance(end.value.code, str) else capsys.readouterr().err
    assert re.search(says, line), line
    assert not list(tmp_path.glob('*.pth'))
