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


def test_pseudo_labels_over_the_training(config, whole, call, tmp_path, capsys):
    (tmp_path / 'run_3').symlink_to(whole)
    call('analyze', 'pseudo-labels', config, '--run', f'ours={whole}', '--run', f'seeds={tmp_path}/run_{{seed}}',
         '--seeds', 3, '--out', tmp_path, '--device', 'cpu')
    document = json.loads((tmp_path / 'pseudo_labels.json').read_text())
    assert len(document['tiles']) == document['unlabelled'] == 5 and document['crop'] == 64
    labelled = json.loads((whole / 'results.json').read_text())['protocol']['training']['labels']['tiles']
    assert not set(labelled) & set(document['tiles'])
    rows = document['runs']['ours'][str(whole)]
    assert [row['iteration'] for row in rows] == [2, 4]
    assert [row['teacher'] for row in rows] == [row['teacher'] for row in document['runs']['seeds'][
        str(tmp_path / 'run_3')]]
    for row in rows:
        saved = read_checkpoint(whole / f'iter_{row["iteration"]}.pth')['state_dict']['class_thresholds.confidence']
        assert max(row['thresholds'].values()) == pytest.approx(0.4)
        assert row['thresholds']['dark'] == pytest.approx(0.4 * float(saved[0] / saved.max() if saved[0] else 1))
        assert row['teacher']['coverage'] == row['student']['coverage'] > 0
        shares = [one['accepted_share'] for one in row['teacher']['classes'].values()]
        assert sum(shares) == pytest.approx(100)
    shown = capsys.readouterr().out
    assert '5 unlabelled training tiles' in shown and 'How to read it: where coverage grows' in shown
    assert (tmp_path / 'pseudo_labels.png').stat().st_size > 20_000
    call('analyze', 'pseudo-labels', config, '--run', whole / 'iter_4.pth', '--tiles', 2, '--out', tmp_path, '--device',
         'cpu')
    document = json.loads((tmp_path / 'pseudo_labels.json').read_text())
    assert len(document['tiles']) == 2 and [one['iteration'] for one in document['runs']['iter_4.pth'][
        str(whole / 'iter_4.pth')]] == [4]
    assert '2 of 5 unlabelled training tiles' in capsys.readouterr().out


@pytest.mark.parametrize(('text', 'run', 'options', 'says'), [
    ("_base_ = '{upernet}'", '{whole}', (), 'of.py is a config without a teacher .*FittedEncoderDecoder'),
    (None, '{weights}', (), 'random.pth does not say which tiles were labelled'),
    (None, '{upernet_dir}', (), 'holds no checkpoint: give the work dir of a run'),
    (None, '{whole}', ('--tiles', 0), '--tiles 0: at least 1'),
    (None, '{whole}/run_{{seed}}', (), r'it holds \{seed\}: say which with --seeds'),
    (None, '{whole}', ('--cfg-options', 'train_dataloader.sampler.use_rest=False'), 'has sampler.use_rest=False: none'),
    (None, '{whole}', ('--cfg-options', 'train_dataloader.dataset.include=[3*,4*]'),
     'was trained on 8 tiles, and semi.py has 2, or others: give the config, --dev'),
    (None, '{whole}', ('--cfg-options', 'train_dataloader.dataset.metainfo.classes=(a,b,c)'),
     'iter_2.pth was trained on the classes dark, middle, bright, and semi.py has a, b, c'),
    ("_base_ = '{config}'\ntrain_dataloader = dict(dataset=dict(data_prefix=dict(_delete_=True, img_path='images')))",
     '{whole}', (), 'its training tiles have no masks'),
])
def test_pseudo_labels_that_cannot_be_judged(config, whole, tiny, weights, call, tmp_path, text, run, options, says):
    places = dict(config=config, whole=whole, upernet=tiny.upernet, weights=weights, upernet_dir=tmp_path)
    file = tmp_path / 'of.py' if text else config
    if text:
        file.write_text(text.format(**places))
    with pytest.raises(SystemExit, match=f'^Error: .*{says}'):
        call('analyze', 'pseudo-labels', file, '--run', run.format(**places), '--out', tmp_path / 'out', '--device',
             'cpu', *options)


def test_a_run_of_another_model_has_no_pseudo_labels(config, tiny, call, tmp_path):
    call('train', tiny.upernet, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=1')
    with pytest.raises(SystemExit, match='^Error: .*iter_1.pth is of a run without a teacher'):
        call('analyze', 'pseudo-labels', config, '--run', tmp_path, '--device', 'cpu')
