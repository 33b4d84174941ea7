"""Configs as other projects write them, through the tools: trained, tested, mapped and exported."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

HEAD = ("dict(type='FCNHead', in_channels={channels}, in_index={index}, channels=8, num_convs=1, concat_input=False, "
        "num_classes=3, norm_cfg=dict(type='BN'), loss_decode=dict(type='egmim_mm.LabelledCrossEntropyLoss', "
        "class_weight=[0.5, 1.0, 2.0]))")
CASCADE = f"""
model = dict(
    type='CascadeEncoderDecoder', num_stages=2,
    decode_head=[
        {HEAD.format(channels=8, index=0)},
        dict(type='OCRHead', in_channels=8, in_index=0, channels=8, ocr_channels=8, num_classes=3,
             norm_cfg=dict(type='BN'), loss_decode=dict(type='CrossEntropyLoss'))],
    auxiliary_head=[{HEAD.format(channels=16, index=1)}, {HEAD.format(channels=32, index=2)}])
"""
ONE_LOGIT = """
classes = dict(classes=('background', 'bright'))
one = dict(num_classes=2, out_channels=1, threshold=0.5,
           loss_decode=dict(use_sigmoid=True, class_weight=[2.0]))
model = dict(decode_head=one, auxiliary_head=one)
# the middle class has no label, so that some crops are without any
train_dataloader = dict(dataset=dict(metainfo=dict(_delete_=True, **classes), mask_values=(0, 2), ignore_values=(1, )))
val_dataloader = dict(dataset=dict(metainfo=dict(_delete_=True, **classes), mask_values=(0, 2), ignore_values=(1, )))
test_dataloader = val_dataloader
"""


@pytest.fixture
def config_of(tiny, tmp_path):
    """Function: a config file made of the tiny UperNet's and these lines."""

    def write(text, name='variant'):
        path = tmp_path / f'{name}.py'
        path.write_text(f"_base_ = '{tiny.upernet}'\n{text}")
        return path

    return write


@pytest.fixture
def train(call, tmp_path):
    """Function: train for a few iterations in this process; returns the work dir."""

    def run(config, *options, iterations=2, name='work', arguments=()):
        call('train', config, '--work-dir', tmp_path / name, *arguments, '--cfg-options',
             f'train_cfg.max_iters={iterations}', 'train_cfg.global_batch=2', *options)
        return tmp_path / name

    return run


def ended(capsys, function, *arguments, **options):
    """The line a tool ends with."""
    with pytest.raises(SystemExit) as end:
        function(*arguments, **options)
    line = end.value.code if isinstance(end.value.code, str) else capsys.readouterr().err
    assert line.startswith('Error: ') and line.strip().count('\n') == 0
    return line.strip()


def scalars(work_dir):
    lines = [json.loads(line) for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in file.read_text().splitlines()]
    return [line for line in lines if 'loss' in line]


def test_cascade_with_two_auxiliary_heads(config_of, train, call, tiny, tmp_path):
    from egmim_mm.inference import Segmenter

    # a list over a dict: MMEngine wants the head replaced
    config = config_of(CASCADE)
    work = train(config)
    assert {'decode_0.loss_ce', 'decode_1.loss_ce', 'aux_0.loss_ce', 'aux_1.loss_ce'} <= scalars(work)[-1].keys()
    assert 0 <= json.loads((work / 'results.json').read_text())['metrics']['mIoU'] <= 100
    call('test', config, work, '--out', tmp_path / 'maps', '--show-dir', tmp_path / 'sheets', '--show-num', '1')
    classes = np.array(Image.open(tmp_path / 'maps' / '0.png'))
    image = np.array(Image.open(tiny.data / 'images' / '0.png'))
    assert classes.shape == image.shape[:2] and len(list((tmp_path / 'sheets').iterdir())) >= 1
    assert (Segmenter(config, work)(image) < 3).all()
    call('export_onnx', config, work, '--out', tmp_path / 'model.onnx')
    assert (tmp_path / 'model.onnx').stat().st_size > 1000


def test_one_logit(config_of, train, call, tmp_path):
    from egmim_mm.inference import Segmenter

    config = config_of(ONE_LOGIT)
    work = train(config, 'train_cfg.val_interval=4', iterations=4)
    assert np.isfinite([line['loss'] for line in scalars(work)]).all()
    results = json.loads((work / 'results.json').read_text())
    assert results['protocol']['classes'] == ['background', 'bright'] and results['metrics']['OA'] > 0
    call('test', config, work, '--tta', '--work-dir', tmp_path / 'tta', '--out', tmp_path / 'maps')
    assert set(np.unique(Image.open(tmp_path / 'maps' / '0.png'))) <= {0, 1}
    with pytest.raises(ValueError, match='variant.py: the head has 1 outputs for 2 classes; maps need one for each'):
        Segmenter(config, work)


def test_class_weights_on_the_command_line(tiny, train):
    work = train(tiny.upernet, 'model.decode_head.loss_decode.class_weight=[1,2,3]',
                 'model.decode_head.loss_decode.avg_non_ignore=True')
    assert np.isfinite([line['loss'] for line in scalars(work)]).all()


def test_training_without_validation(tiny, train, capsys):
    none = 'val_dataloader=None', 'val_cfg=None', 'val_evaluator=None'
    work = train(tiny.upernet, *none)
    results = json.loads((work / 'results.json').read_text())
    assert results['phase'] == 'train' and results['metrics'] == {} and (work / 'last.pth').exists()
    capsys.readouterr()
    line = ended(capsys, train, tiny.upernet, *none, 'default_hooks.checkpoint.save_best=mIoU', name='best')
    assert line.startswith("Error: default_hooks.checkpoint.save_best='mIoU' needs validation")


def test_gradients_of_several_iterations(tiny, call, tmp_path):
    """MMEngine's loop and accumulation: weights move with every second iteration; rate, protocol and log know it."""
    config, work = tmp_path / 'stock.py', tmp_path / 'work'
    config.write_text(f"_base_ = '{tiny.egmim}'\n"
                      "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=5)\n"
                      'optim_wrapper = dict(accumulative_counts=2)\nauto_scale_lr = dict(base_batch_size=512)\n'
                      'default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))\n'
                      'train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)\n')
    call('train', config, '--work-dir', work)
    checkpoints = [torch.load(work / f'iter_{number + 1}.pth', weights_only=False) for number in range(5)]
    weights = [torch.cat([p.flatten() for name, p in sorted(c['state_dict'].items()) if name.endswith('weight')])
               for c in checkpoints]
    moved = [bool((after != before).any()) for before, after in zip(weights, weights[1:])]
    assert moved == [True, False, True, True]  # after 2, 4 and the last
    # two images of two iterations are a batch of four: the rate of the config counts for 512
    rates = [c['optimizer']['param_groups'][0]['initial_lr'] for c in checkpoints]
    assert rates == pytest.approx([1e-3 * 4 / 512] * 5)
    assert json.loads((work / 'results.json').read_text())['protocol']['training']['global_batch'] == 4
    assert np.isfinite([line['loss'] for line in scalars(work)]).all() and len(scalars(work)) == 5


def test_typos_spaces_and_epochs_end_in_one_line(tiny, train, capsys):
    for option, says in [
            ('train_cfg.max_iter=3', 'did you mean train_cfg.max_iters?'), ('model.x=', 'model has no x; there are '),
            ('a=[1,', 'has brackets that do not match'),
            ('train_cfg.global_batch=1', 'it needs 2 images per process'),
            ('train_dataloader.batch_size=3', 'is 3, but train_cfg.global_batch=2 makes it 2 with 1 process'),
            ('optim_wrapper.accumulative_counts=2', 'accumulation follows from train_cfg.global_batch=2'),
            ('train_cfg.max_batch_per_process=0', 'train_cfg.max_batch_per_process is 0: give a number of images'),
            ('train_cfg.type=EpochBasedTrainLoop', 'train_cfg counts epochs'),
            ('train_cfg.type=IterBasedTrainLoop', 'which reads no global_batch (2): leave the type out'),
            ('visualizer.vis_backends.0.type=NeptuneVisBackend', 'neptune is not installed: pip install neptune')]:
        capsys.readouterr()
        assert says in ended(capsys, train, tiny.upernet, option), option


def test_labels_that_cannot_teach_are_in_the_log(tiny, train, capsys):
    kept = 'train_dataloader.dataset.include=0*', 'train_dataloader.sampler.budget=1'
    ignored = 'train_dataloader.dataset.mask_values=[0,1,9]', 'train_dataloader.dataset.ignore_values=[2]'
    work = train(tiny.upernet, *kept, *ignored)
    log = next(work.glob('*/*.log')).read_text()
    says = 'WARNING - Class bright cannot be learned: the labelled tile (0) '
    line, = (line for line in log.splitlines() if says in line)
    assert 'The masks hold 0, 1, 2, 255, and 2 and 255' not in line  # two classes are there: no guess
    assert log.index(line) < log.index('Iter(train)')
    capsys.readouterr()
    ignored = 'train_dataloader.dataset.mask_values=[7,8,9]', 'train_dataloader.dataset.ignore_values=[0,1,2]'
    line = ended(capsys, train, tiny.upernet, *kept, *ignored, name='none')
    assert line.startswith('Error: there is nothing to learn from: the labelled tile (0) holds no labelled pixel')
