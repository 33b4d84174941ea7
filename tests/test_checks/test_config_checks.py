"""Ordinary configs of the ecosystem pass or are refused in one line."""
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from egmim_mm.checks import LaunchError, config_checks
from egmim_mm.checks.config_checks import check_testing, check_training
from egmim_mm.checks.head_checks import check_batch, heads_of
from egmim_mm.engine.device import adapt_to_device
from egmim_mm.engine.launch import load_config

ROOT = Path(__file__).resolve().parents[2]
OURS = 'egmim_mm.LabelledCrossEntropyLoss'
FCN = dict(type='FCNHead', in_channels=96, in_index=0, channels=8, num_convs=1, concat_input=False, num_classes=5,
           loss_decode=dict(type=OURS))
OCR = dict(type='OCRHead', in_channels=96, in_index=0, channels=8, ocr_channels=8, num_classes=5,
           loss_decode=dict(type=OURS))


@pytest.fixture
def config():
    """Function: the config of Dubai's fine-tuning (or another) with ``--cfg-options``."""

    def load(name='upernet_dubai', **options):
        return load_config(str(ROOT / 'configs' / f'{name}.py'), options={
            key.replace('__', '.'): value for key, value in options.items()})

    return load


def refused(cfg, check=check_training):
    with pytest.raises(LaunchError) as caught:
        check(cfg)
    message = str(caught.value)
    assert '\n' not in message
    return message


@pytest.mark.parametrize('path', sorted(p.relative_to(ROOT / 'configs').with_suffix('').as_posix() for p in (
    ROOT / 'configs').rglob('*.py') if not any(part.startswith('_') for part in p.relative_to(ROOT / 'configs').parts)))
def test_all_shipped_configs_pass(config, path):
    if path == 'ablations/base':
        pytest.skip('a base')
    cfg = config(path)
    check_training(cfg)
    if cfg.get('test_dataloader'):
        check_testing(cfg)


# ---- classes and heads ----
def test_heads_are_found_in_lists():
    model = dict(decode_head=[dict(a=1), dict(a=2)], auxiliary_head=dict(a=3))
    assert [(name, head['a']) for name, head in heads_of(model)] == [
        ('model.decode_head.0', 1), ('model.decode_head.1', 2), ('model.auxiliary_head', 3)]
    assert list(heads_of(dict(auxiliary_head=None))) == []


def test_a_list_of_auxiliary_heads(config):
    cfg = config()
    cfg.model.auxiliary_head = [dict(FCN), dict(FCN, num_classes=4)]
    assert refused(cfg).startswith('model.auxiliary_head.1.num_classes is 4, but the data has 5 classes (building')
    cfg.model.auxiliary_head[1].num_classes = 5
    check_training(cfg)
    check_testing(cfg)


def test_cascaded_decode_heads(config):
    cfg = config()
    cfg.model.decode_head = [dict(FCN), dict(OCR)]
    assert refused(cfg) == ('model.decode_head is a list of 2, which egmim_mm.FittedEncoderDecoder does not '
                            "take: set model.type='CascadeEncoderDecoder' and model.num_stages=2")
    cfg.model.update(type='CascadeEncoderDecoder', num_stages=3)
    says = 'model.decode_head of a CascadeEncoderDecoder is a list with one head for each of num_stages=3'
    assert refused(cfg) == refused(cfg, check_testing) == says
    cfg.model.num_stages = 2
    check_training(cfg)
    cfg.model.decode_head[1].num_classes = 7
    assert refused(cfg).startswith('model.decode_head.1.num_classes is 7, but')
    for head in cfg.model.decode_head:
        head.update(num_classes=5)
    cfg.model.decode_head[1].out_channels = 1
    assert 'no threshold for cascaded heads' in refused(cfg, check_testing)


def test_class_weights(config):
    weights = dict(model__decode_head__loss_decode__class_weight=[1, 2, 3, 4, 5])
    check_training(config(**weights))
    stock = dict(type='CrossEntropyLoss', class_weight=[1, 2, 3, 4, 5], avg_non_ignore=True)
    cfg = config()
    cfg.model.auxiliary_head.loss_decode = [dict(type='DiceLoss'), stock]
    assert refused(cfg) == ("model.auxiliary_head.loss_decode: MMSegmentation's CrossEntropyLoss fails with "
                            f"class_weight and avg_non_ignore: set model.auxiliary_head.loss_decode.type='{OURS}'")
    check_testing(cfg)  # a test computes no loss
    stock.pop('avg_non_ignore')
    cfg.model.auxiliary_head.loss_decode = stock
    check_training(cfg)
    stock['class_weight'] = [1, 2]
    cfg.model.auxiliary_head.loss_decode = stock
    assert refused(cfg) == ('model.auxiliary_head.loss_decode.class_weight has 2 weights, but the head has 5 outputs: '
                            'give one for each')


def test_binary_heads_with_one_logit(config):
    cfg = config()
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo = dict(classes=('background', 'roof'))
    heads = cfg.model.decode_head, cfg.model.auxiliary_head
    for head in heads:
        head.num_classes = 1
    assert 'set num_classes to 2; one output for both is out_channels=1' in refused(cfg)
    for head in heads:
        head.update(num_classes=2, out_channels=1, threshold=0.5)
    assert refused(cfg) == ('model.decode_head has one output, but its LabelledCrossEntropyLoss compares several: set '
                            'model.decode_head.loss_decode.use_sigmoid=True')
    for head in heads:
        head.loss_decode.use_sigmoid = True
    check_training(cfg)
    check_testing(cfg)
    heads[0].loss_decode.class_weight = [1, 2]
    assert refused(cfg).endswith('has 2 weights, but the head has 1 output: give one for each')
    heads[0].loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)
    assert "MMSegmentation's CrossEntropyLoss stops at a batch without labelled pixels" in refused(cfg)


def test_a_single_class_is_no_class(config):
    cfg = config(model__decode_head__num_classes=1, model__auxiliary_head__num_classes=1)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo = dict(classes=('roof', ))
    assert refused(cfg).startswith('the data has one class (roof), and one cannot be told from nothing: name the '
                                   "background as well, metainfo.classes=('background', 'roof'), and set model.decode")


# ---- batch norm of one image ----
@pytest.mark.parametrize('gpu, processes, batch, passes', [
    (False, 1, dict(global_batch=1), False), (False, 8, dict(), False), (True, 1, dict(global_batch=1), False),
    (False, 1, dict(max_batch_per_process=1), False), (True, 8, dict(), True), (False, 4, dict(), True)])
def test_one_image_per_process(config, monkeypatch, gpu, processes, batch, passes):
    cfg = config()
    cfg.train_cfg.update(batch)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    cfg.optim_wrapper.precision = 'float32'  # there is no GPU to be asked
    adapt_to_device(cfg)
    monkeypatch.setenv('WORLD_SIZE', str(processes))
    cfg.launcher = 'pytorch'
    if passes:  # SyncBN counts the images of all processes
        check_batch(cfg)
    else:
        message = refused(cfg, check_batch)
        assert message.startswith('model.decode_head pools each image to one pixel and normalises it over the batch')
        assert 'images a step over ' in message and 'raise train_cfg.max_batch_per_process' in message


def test_one_image_per_process_in_a_loop_of_mmengine(config):
    cfg = config()
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=10)
    cfg.train_dataloader.batch_size = 1
    assert 'train_dataloader.batch_size is 1: set it to 2 or more' in refused(cfg, check_batch)
    cfg.train_dataloader.batch_size = 2
    check_batch(cfg)


@pytest.mark.parametrize('head, pools', [
    (dict(type='UPerHead', in_channels=[8, 8], in_index=[0, 1]), True),
    (dict(type='UPerHead', in_channels=[8, 8], in_index=[0, 1], pool_scales=(2, 3, 6)), False),
    (dict(type='UPerHead', in_channels=[8, 8], in_index=[0, 1], norm_cfg=dict(type='GN', num_groups=2)), False),
    (dict(type='PSPHead', in_channels=8), True),
    (dict(type='ASPPHead', in_channels=8), True),
    (dict(type='FCNHead', in_channels=8), False)])
def test_heads_that_pool_an_image_to_one_pixel(config, head, pools):
    cfg = config(train_cfg__global_batch=1)
    cfg.model.decode_head = dict(dict(channels=8, num_classes=5, norm_cfg=dict(type='BN')), **head)
    if pools:
        refused(cfg, check_batch)
    else:
        check_batch(cfg)
    cfg.train_cfg.global_batch = 2
    check_batch(cfg)


# ---- epochs ----
@pytest.mark.parametrize('loop', [
    dict(type='EpochBasedTrainLoop', max_epochs=3), dict(by_epoch=True, max_epochs=3),
    dict(type='EpochBasedTrainLoop', max_iters=4000, max_epochs=3)])
def test_loops_that_count_epochs(config, loop):
    cfg = config()
    cfg.train_cfg = loop
    assert refused(cfg).startswith('train_cfg counts epochs, but training here counts iterations')


def test_epochs_from_the_command_line(config):
    # the shares of the schedule must not stumble over it
    cfg = config(train_cfg__type='EpochBasedTrainLoop', train_cfg__max_iters=None)
    assert refused(cfg).startswith('train_cfg counts epochs')


def test_schedules_and_checkpoints_that_count_epochs(config):
    cfg = config()
    cfg.param_scheduler = [dict(type='PolyLR', by_epoch=False), dict(type='CosineAnnealingLR', T_max=10)]
    assert refused(cfg).startswith('param_scheduler.1 (CosineAnnealingLR) counts epochs, which is the default')
    cfg = config()
    for hook in (dict(type='CheckpointHook', interval=1), dict(type='mmengine.CheckpointHook'),
                 dict(type='egmim_mm.SafeCheckpointHook', by_epoch=True)):
        cfg.default_hooks.checkpoint = hook
        assert refused(cfg).startswith('default_hooks.checkpoint counts epochs and would never save')
    cfg.default_hooks.pop('checkpoint')
    assert refused(cfg).startswith('default_hooks.checkpoint counts epochs')  # MMEngine's own, which it would add
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False)
    check_training(cfg)


@pytest.mark.parametrize('number', [0, -1, 2.5, None, 'many'])
def test_lengths_that_are_none(config, number):
    cfg = config()
    cfg.train_cfg.max_iters = number
    assert refused(cfg) == f'train_cfg.max_iters is {number}: give the number of iterations, 1 or more'


def test_one_scheduler_need_not_be_in_a_list(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text("train_cfg = dict(max_iters=100)\nparam_scheduler = dict(type='PolyLR', begin=0.1, end=1.0)\n")
    assert load_config(str(path)).param_scheduler == [dict(type='PolyLR', begin=10, end=100)]


# ---- validation ----
def test_training_without_validation(config):
    none = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    check_training(config(**none))
    assert refused(config(val_dataloader=None)) == (
        'val_dataloader: None, but val_cfg, val_evaluator is given: set all three, or all to None to go without')
    message = refused(config(**none, default_hooks__checkpoint__save_best='mIoU'))
    assert message == ("default_hooks.checkpoint.save_best='mIoU' needs validation, but val_dataloader is None: "
                       'leave one of them out')
    cfg = config(**none)
    cfg.custom_hooks = [dict(type='EarlyStoppingHook', monitor='mIoU')]
    assert refused(cfg).startswith('custom_hooks.0 (EarlyStoppingHook) needs validation')


def test_phases_need_their_settings(config):
    assert refused(config(train_dataloader=None)) == (
        'train_dataloader: not set, and a config that is to be trained needs train_dataloader, train_cfg, '
        'optim_wrapper')
    cfg = config(test_dataloader=None, test_evaluator=None)
    assert refused(cfg, check_testing).startswith('test_dataloader, test_evaluator: not set, and a config that is')


# ---- curves elsewhere ----
@pytest.mark.parametrize('kind, package', [('TensorboardVisBackend', 'tensorboard'), ('WandbVisBackend', 'wandb'),
                                           ('mmengine.MLflowVisBackend', 'mlflow')])
def test_backends_whose_package_is_missing(config, monkeypatch, kind, package):
    cfg = config()
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'), dict(type=kind)]
    monkeypatch.setattr(config_checks, 'find_spec', lambda name: None if name == package else find_spec(name))
    message = refused(cfg)
    assert message == (f'visualizer.vis_backends has {kind.split(".")[-1]}, and {package} is not installed: '
                       f'pip install {package}, or leave the backend out')
    assert refused(cfg, check_testing) == message
    monkeypatch.setattr(config_checks, 'find_spec', lambda name: True)
    check_training(cfg)


def test_bytes_need_the_preprocessor_that_widens_them(config):
    cfg = config(model__data_preprocessor__type='SegDataPreProcessor')
    assert refused(cfg).startswith('egmim_mm.PackTiles packs labels as bytes, and losses need whole numbers of 64 bits')
    cfg.train_dataloader.dataset.pipeline[-1].type = 'PackSegInputs'
    check_training(cfg)


def test_choosing_on_the_test_images_is_said(config, monkeypatch):
    said = []
    monkeypatch.setattr(config_checks, 'print_log', lambda message, **options: said.append(message))
    check_training(config())
    check_training(load_config(str(ROOT / 'configs/upernet_dubai.py'), dev=True,
                               options={'default_hooks.checkpoint.save_best': 'mIoU'}))
    check_training(config(default_hooks__checkpoint__save_best='mIoU', val_dataloader__dataset__include='*_006'))
    assert said == []
    check_training(config(default_hooks__checkpoint__save_best='mIoU'))
    assert said[0].startswith("default_hooks.checkpoint.save_best='mIoU' chooses on the images of test_dataloader")
    assert 'Choose with --dev on tiles taken out of the training part' in said[0]
