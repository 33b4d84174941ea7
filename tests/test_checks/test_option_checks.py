"""Which names --cfg-options accepts."""
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from egmim_mm.checks import LaunchError
from egmim_mm.checks.option_checks import check_option_names
from egmim_mm.engine.launch import load_config

ROOT = Path(__file__).resolve().parents[2]
UPERNET, DAPT = 'upernet_dubai', 'egmim_dapt_dubai'


@cache
def config_file(name):
    return Config.fromfile(ROOT / 'configs' / f'{name}.py')


def check(config, **options):
    check_option_names(config_file(config), options)


@pytest.mark.parametrize('config, name, says', [
    (UPERNET, 'train_cfg.max_iter', 'train_cfg has no max_iter; did you mean train_cfg.max_iters?'),
    (UPERNET, 'optim_wraper.optimizer.lr', 'no optim_wraper; did you mean optim_wrapper.optimizer.lr?'),
    (UPERNET, 'batch_size', 'no batch_size; did you mean val_dataloader.batch_size or test_dataloader.batch_size?'),
    (UPERNET, 'global_batch', 'no global_batch; did you mean train_cfg.global_batch?'),
    (UPERNET, 'train_cfg.max_batch_per_proces', 'did you mean train_cfg.max_batch_per_process?'),
    (UPERNET, 'model.backbone.drop_path', 'did you mean model.backbone.drop_path_rate?'),
    (UPERNET, 'model.decode_head.num_class', 'did you mean model.decode_head.num_classes?'),
    (UPERNET, 'model.decode_head.loss_decode.class_weights', 'mean model.decode_head.loss_decode.class_weight?'),
    (UPERNET, 'model.neck_.type', 'did you mean model.neck.type?'),
    (UPERNET, 'model.colour', 'model has no colour; there are _delete_, _scope_, auxiliary_head, backbone, data_pre'),
    (UPERNET, 'model.backbone.zebra', 'model.backbone has no zebra; there are '),
    (UPERNET, 'model.decode_head.zebra', 'model.decode_head has no zebra; there are '),
    (UPERNET, 'train_dataloader.dataset.zebra', 'train_dataloader.dataset has no zebra; there are '),
    (UPERNET, 'train_dataloader.dataset.pipeline.3.zebra', 'has no zebra; there are '),
    (UPERNET, 'model.test_cfg.strides', 'did you mean model.test_cfg.stride?'),
    (UPERNET, 'train_dataloader.num_worker', 'did you mean train_dataloader.num_workers?'),
    (UPERNET, 'train_dataloader.sampler.buget', 'did you mean train_dataloader.sampler.budget?'),
    (UPERNET, 'train_dataloader.dataset.mask_value', 'did you mean train_dataloader.dataset.mask_values?'),
    (UPERNET, 'train_dataloader.dataset.pipeline.2.crop', 'train_dataloader.dataset.pipeline.2.crop_size?'),
    (UPERNET, 'train_dataloader.dataset.pipeline.9.prob', 'train_dataloader.dataset.pipeline has the elements 0 to 6'),
    (UPERNET, 'test_evaluator.prefix',
     'test_evaluator is a list of 2; name the element by its number: test_evaluator.0'),
    (UPERNET, 'test_evaluator.1.width', 'did you mean test_evaluator.1.widths?'),
    (UPERNET, 'optim_wrapper.optimizer.weight_decai', 'did you mean optim_wrapper.optimizer.weight_decay?'),
    (UPERNET, 'optim_wrapper.accumulative_count', 'did you mean optim_wrapper.accumulative_counts?'),
    (UPERNET, 'param_scheduler.0.by_epochs', 'did you mean param_scheduler.0.by_epoch?'),
    (UPERNET, 'default_hooks.checkpoint.intervall', 'did you mean default_hooks.checkpoint.interval?'),
    (UPERNET, 'default_hooks.checkpiont.interval', 'did you mean default_hooks.checkpoint.interval?'),
    (UPERNET, 'env_cfg.cudnn_bench', 'did you mean env_cfg.cudnn_benchmark?'),
    (UPERNET, 'randomness.sead', 'did you mean randomness.seed?'),
    (UPERNET, 'train_cfg.max_iters.a', 'train_cfg.max_iters is 4000, it has no a'),
    (UPERNET, 'load_from.path', 'load_from is None, it has no path'),
    (UPERNET, 'model.backbone.arch.depths', "model.backbone.arch is 'tiny', it has no depths"),
    (UPERNET, 'xyzzy', 'a config has no xyzzy; there are '),
    (DAPT, 'model.mask_generator.polici', 'did you mean model.mask_generator.policy?'),
    (DAPT, 'train_dataloader.dataset.min_sizes', 'did you mean train_dataloader.dataset.min_size?'),
    # a variable of the config file, which was copied when the file was read
    (UPERNET, 'train_pipeline.2.crop_size', 'mean train_dataloader.dataset.pipeline.2.crop_size?'),
    (UPERNET, 'tiles.data_root', 'did you mean train_dataloader.dataset.data_root or '),
    (UPERNET, 'norm_cfg.type', 'did you mean model.decode_head.norm_cfg.type or '),
])
def test_names_that_nothing_reads_are_refused(config, name, says):
    with pytest.raises(LaunchError) as caught:
        check(config, **{name: 1})
    assert str(caught.value).startswith(f'--cfg-options {name}: ') and says in str(caught.value)


@pytest.mark.parametrize('config, options', [
    (UPERNET, {'train_cfg.max_iters': 7, 'train_cfg.val_begin': 3}),
    (UPERNET, {'model.backbone.drop_path_rate': 0.3, 'model.backbone.with_cp': True}),
    (UPERNET, {'model.backbone.init_cfg.type': 'Pretrained', 'model.backbone.init_cfg.checkpoint': 'x.pth'}),
    (UPERNET, {'model.decode_head.loss_decode.class_weight': [1, 2, 3, 4, 5], 'model.decode_head.sampler': None}),
    (UPERNET, {'model.neck.type': 'FPN', 'model.neck.out_channels': 64}),
    (UPERNET, {'model.decode_head.norm_cfg.momentum': 0.01}),
    (UPERNET, {'model.test_cfg.threshold': 0.5, 'train_dataloader.dataset.data_prefix.full_seg_map_path': 'x'}),
    (UPERNET, {'optim_wrapper.accumulative_counts': 2, 'optim_wrapper.clip_grad.max_norm': 1.0,
               'optim_wrapper.dtype': 'float16', 'optim_wrapper.constructor': 'egmim_mm.SwinLayerDecay'}),
    (UPERNET, {'optim_wrapper.paramwise_cfg.decay_rate': 0.9, 'optim_wrapper.paramwise_cfg.custom_keys.norm9': {}}),
    (UPERNET, {'optim_wrapper.optimizer.type': 'SGD', 'optim_wrapper.optimizer.momentum': 0.9}),
    (UPERNET, {'param_scheduler.1.last_step': -1, 'param_scheduler.1.end': 1000}),
    (UPERNET, {'default_hooks.early.type': 'EarlyStoppingHook', 'default_hooks.early.monitor': 'mIoU'}),
    (UPERNET, {'default_hooks.checkpoint.save_best': 'mIoU', 'default_hooks.runtime_info.type': 'RuntimeInfoHook'}),
    (UPERNET, {'env_cfg.resource_limit': 4096, 'env_cfg.dist_cfg.timeout': 100, 'randomness.deterministic': True}),
    (UPERNET, {'train_dataloader.pin_memory': True, 'train_dataloader.prefetch_factor': 4,
               'train_dataloader.dataset.source_pattern': '(.)', 'train_dataloader.dataset.pipeline.0.cache_mb': 5}),
    (UPERNET, {'val_dataloader': None, 'val_evaluator': None, 'val_cfg': None, 'custom_imports': None}),
    (UPERNET, {'val_evaluator.0.bootstrap_draws': 0, 'val_evaluator.0.collect_device': 'gpu'}),
    (UPERNET, {'log_processor.window_size': 5, 'auto_scale_lr.enable': True, 'visualizer.vis_backends.0.type': 'x'}),
    (UPERNET, {'model.type': 'CascadeEncoderDecoder', 'model.num_stages': 2}),
    (DAPT, {'train_cfg.global_batch': 64, 'train_cfg.max_batch_per_process': 8, 'lr_factor_from_scratch': 1}),
    (UPERNET, {'train_cfg.max_batch_per_process': 8}),
    (DAPT, {'model.backbone.drop_path_rate': 0.1, 'model.mask_generator.beta': 0.1}),
    (DAPT, {'train_dataloader.dataset.on_error': 'skip', 'default_hooks.health.interval': 0}),
])
def test_names_that_something_reads_pass(config, options):
    check(config, **options)


def test_options_are_checked_before_they_are_merged():
    path = str(ROOT / 'configs' / f'{UPERNET}.py')
    assert load_config(path, options={'train_cfg.max_iters': 70}).param_scheduler[1].end == 70
    with pytest.raises(LaunchError, match='did you mean train_cfg.max_iters'):
        load_config(path, options={'train_cfg.max_iter': 70})


def test_the_type_that_the_options_set_counts():
    with pytest.raises(LaunchError, match='has no nesterow; did you mean optim_wrapper.optimizer.nesterov'):
        check(UPERNET, **{'optim_wrapper.optimizer.nesterow': True, 'optim_wrapper.optimizer.type': 'SGD'})
    with pytest.raises(LaunchError, match='did you mean default_hooks.early.monitor'):
        check(UPERNET, **{'default_hooks.early.type': 'EarlyStoppingHook', 'default_hooks.early.moniter': 'mIoU'})
