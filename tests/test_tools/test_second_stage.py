"""The second stage through the tools: trained, resumed, tested, mapped; and what is refused before training."""
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from egmim_mm.checkpoints import read_checkpoint

SHORT = """
_base_ = '{semi}'
model = dict(backbone=dict(arch=dict(depths=[1, 1, 1, 1])))  # takes less time to export
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=-1))
readout = dict(
    model=dict(pixel_features=dict(scale=0.5), decode_head=dict(
        type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4], groups=[[0, 1, 2, 3], [4]])),
    train_cfg=dict(type='egmim_mm.ReadoutLoop', cells=200))
label_presets = [
    dict(name='guided second stage', up_to=3, settings=dict(model=dict(guide=dict(readout=readout)))),
    dict(name='second stage', settings=dict())]
"""


@pytest.fixture(scope='module')
def config(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp('semi') / 'semi.py'
    path.write_text(SHORT.format(semi=tiny.semi))
    return path


@pytest.fixture(scope='module')
def whole(config, call, tmp_path_factory):
    """Work dir of a run that nobody has stopped, with two validations on the dev part."""
    work = tmp_path_factory.mktemp('work') / 'whole'
    call('train', config, '--work-dir', work, '--budget', '3', '--dev')
    return work


def scalars(work, name):
    """Logged lines with that value."""
    lines = [json.loads(line) for file in sorted(work.glob('*/vis_data/scalars.json')) for line in
             file.read_text().splitlines()]
    return [line for line in lines if name in line]


def test_log_and_protocol(whole):
    lines = scalars(whole, 'loss')
    assert len(lines) == 4
    for line in lines:
        assert np.isfinite(line['loss']) and 0 <= line['accepted'] <= 1 and 0 <= line['agreement'] <= 1
        assert line['loss'] == pytest.approx(line['decode.loss_ce'] + line['aux.loss_ce'] + line['loss_unlabelled'],
                                             rel=1e-4)
        shares = [line[f'accepted_{name}'] for name in ('dark', 'middle', 'bright')]
        assert sum(shares) == pytest.approx(float(line['accepted'] > 0), abs=1e-5)
    labels = json.loads((whole / 'results.json').read_text())['protocol']['training']['labels']
    assert len(labels['tiles']) == 3 and labels['unlabelled'] == 3 and labels['labelled_share'] == 0.5


def test_the_better_on_dev_predicts(config, whole, call, tmp_path):
    scored = scalars(whole, 'teacher/mIoU')
    assert [line['step'] for line in scored] == [2, 4]
    for line in scored:
        student, teacher = line['student/mIoU'], line['teacher/mIoU']
        better = 'student' if student > teacher else 'teacher'
        assert student != teacher and line['mIoU'] == max(student, teacher) and line['OA'] == line[f'{better}/OA']
        saved = read_checkpoint(whole / f'iter_{line["step"]}.pth')  # before the validation, and again
        assert bool(saved['state_dict']['student_is_better']) == (better == 'student')
        record = saved['meta']['egmim_mm']['training']['predictor']
        assert record == dict(network=better, chosen_on='dev', score='mIoU', student=student, teacher=teacher,
                              iteration=line['step'])
        said = f'mIoU on the dev images: student {student:.2f}, teacher {teacher:.2f}; the {better} predicts'
        assert said in next(whole.glob('*/*.log')).read_text()
    document = json.loads((whole / 'results.json').read_text())
    assert document['predicted_with'] == better and document['protocol']['training']['predictor'] == record
    confusion = torch.tensor(document['confusion']['counts'])
    assert document['metrics']['OA'] == pytest.approx(100 * confusion.trace() / confusion.sum())
    assert document['metrics']['mIoU'] == max(student, teacher)
    for part in ('student', 'teacher'):  # the scores are theirs
        call('test', config, whole, '--work-dir', tmp_path / part, '--dev', '--cfg-options',
             f'model.predict_with={part}')
        tested = json.loads((tmp_path / part / 'results.json').read_text())
        assert tested['metrics']['mIoU'] == pytest.approx(dict(student=student, teacher=teacher)[part])
        assert tested['predicted_with'] == part and tested['protocol']['training']['predictor'] == record


def test_a_resumed_run_is_the_uninterrupted_one(config, whole, call, tmp_path):
    call('train', config, '--work-dir', tmp_path, '--budget', '3', '--dev', '--resume', whole / 'iter_2.pth')
    ours, theirs = (read_checkpoint(work / 'last.pth')['state_dict'] for work in (tmp_path, whole))
    assert ours.keys() == theirs.keys() and {key.split('.')[0] for key in ours} == {
        'student', 'teacher', 'class_thresholds', 'student_is_better', 'guide'}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(not torch.equal(theirs[key], theirs[key.replace('teacher', 'student', 1)]) for key in theirs
               if key.startswith('teacher.'))
    for name in ('loss', 'accepted', 'student/mIoU', 'teacher/mIoU'):
        resumed = [line[name] for line in scalars(tmp_path, name)]
        assert resumed == [line[name] for line in scalars(whole, name)][-len(resumed):] and resumed


def test_the_guide_is_the_read_out_of_the_labelled_tiles(whole):
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from egmim_mm.datasets.plain_tiles import build_training_data, without_augmentation
    from egmim_mm.engine.readout_fitting import LabelledDataset, fit_readout
    from egmim_mm.registry import MODELS

    tiles = json.loads((whole / 'results.json').read_text())['protocol']['training']['labels']['tiles']
    cfg = Config.fromfile(whole / 'semi.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model, data = MODELS.build(cfg.model), build_training_data(cfg)
    weights = read_checkpoint(whole / 'last.pth')['state_dict']
    model.load_state_dict(weights)
    segmentor = model.eval().guide.segmentor
    members = [data.tile_names.index(name) for name in tiles]
    fitted = fit_readout(segmentor, LabelledDataset(without_augmentation(data), members), 200,
                         [dict(type='logistic', l2=1e-2)] * 2, 1024, cfg.randomness.seed)
    for (weight, _), one in zip(fitted.classifiers, segmentor.decode_head.classifiers):
        assert torch.allclose(one.weight[fitted.seen], weight, rtol=0.2, atol=0.05 * weight.abs().max())  # bfloat16
        assert weight.abs().max() > 0.1
    ours = weights['guide.segmentor.backbone.patch_embed.projection.weight']
    assert not torch.equal(ours, weights['student.backbone.patch_embed.projection.weight'])  # that was trained


def test_parts_of_a_batch_are_the_same_share(config, call, tmp_path):
    call('train', config, '--work-dir', tmp_path, '--budget', '3', '--cfg-options', 'train_cfg.max_iters=1',
         'train_cfg.global_batch=8', 'train_cfg.max_batch_per_process=4')
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'in 2 parts of 4' in log
    # val_dataloader reads the test part, and without --dev there is no other
    assert 'The teacher predicts: the validation is on the images of the test, on which nothing is chosen' in log
    assert not scalars(tmp_path, 'teacher/mIoU') and scalars(tmp_path, 'mIoU')
    document = json.loads((tmp_path / 'results.json').read_text())
    assert document['part'] == 'test' and document['predicted_with'] == 'teacher'
    assert document['protocol']['training']['predictor'] == dict(network='teacher', chosen_on=None)


def test_what_predicts_is_mapped_and_exported(config, whole, tiny, call, tmp_path):
    from egmim_mm.inference import Segmenter

    weights = read_checkpoint(whole / 'last.pth')['state_dict']
    name = 'decode_head.conv_seg.weight'
    better = 'student' if weights['student_is_better'] else 'teacher'
    for options, part in ((None, better), ({'model.predict_with': 'student'}, 'student'),
                          ({'model.predict_with': 'teacher'}, 'teacher')):
        segmenter = Segmenter(config, whole, cfg_options=options)
        assert type(segmenter.model).__name__ == 'FittedEncoderDecoder'
        assert torch.equal(segmenter.model.state_dict()[name], weights[f'{part}.{name}'])
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    call('export_onnx', config, whole, '--out', tmp_path / 'model.onnx')  # compares the logits
    image = tiny.data / 'images' / '0.png'
    call('predict', config, whole, image, '--out', tmp_path / 'torch', '--cfg-options',
         'optim_wrapper.precision=float32')
    call('predict', tmp_path / 'model.onnx', image, '--out', tmp_path / 'onnx')
    ours, theirs = (np.array(Image.open(tmp_path / kind / '0.png')) for kind in ('torch', 'onnx'))
    assert ours.shape == (96, 96) and len(np.unique(ours)) > 1 and (ours == theirs).mean() >= 0.999


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
         '--seeds', 3, '--dev', '--out', tmp_path, '--device', 'cpu')
    document = json.loads((tmp_path / 'pseudo_labels.json').read_text())
    assert len(document['tiles']) == document['unlabelled'] == 3 and document['crop'] == 64
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
    assert '3 unlabelled training tiles' in shown and 'How to read it: where coverage grows' in shown
    assert (tmp_path / 'pseudo_labels.png').stat().st_size > 20_000
    call('analyze', 'pseudo-labels', config, '--run', whole / 'iter_4.pth', '--tiles', 2, '--dev', '--out', tmp_path,
         '--device', 'cpu')
    document = json.loads((tmp_path / 'pseudo_labels.json').read_text())
    assert len(document['tiles']) == 2 and [one['iteration'] for one in document['runs']['iter_4.pth'][
        str(whole / 'iter_4.pth')]] == [4]
    assert '2 of 3 unlabelled training tiles' in capsys.readouterr().out


@pytest.mark.parametrize(('text', 'run', 'options', 'says'), [
    ("_base_ = '{upernet}'", '{whole}', (), 'of.py is a config without a teacher .*FittedEncoderDecoder'),
    (None, '{weights}', (), 'random.pth does not say which tiles were labelled'),
    (None, '{upernet_dir}', (), 'holds no checkpoint: give the work dir of a run'),
    (None, '{whole}', ('--tiles', 0), '--tiles 0: at least 1'),
    (None, '{whole}/run_{{seed}}', (), r'it holds \{seed\}: say which with --seeds'),
    (None, '{whole}', ('--cfg-options', 'train_dataloader.sampler.use_rest=False'), 'has sampler.use_rest=False: none'),
    (None, '{whole}', ('--cfg-options', 'train_dataloader.dataset.include=[3*,4*]'),
     'was trained on 6 tiles, and semi.py has 2, or others: give the config, --dev'),
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
