"""Whole training runs to time: ours as the package ships them, and the stock toolchain's as its configs are."""
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from egmim_mm.engine.console_runner import ConsoleRunner
from egmim_mm.engine.device import adapt_to_device
from egmim_mm.engine.launch import settle_schedule
from egmim_mm.environment import SHIPPED
from egmim_mm.registry import MODELS
from egmim_mm.synthetic import CLASSES, METAINFO

from .stock_models import egmim_model, stock_simmim, stock_upernet

__all__ = ['RARE', 'TOY_ARCH', 'build_runner', 'stock_simmim_run', 'training_config']

BASES = dict(pretrain=('datasets/unlabeled.py', 'schedules/dapt.py', 'pretrain_runtime.py'),
             finetune=('datasets/segmentation.py', 'schedules/finetune.py', 'segmentation_runtime.py'))
TOY_ARCH = dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
# Hooks that act at intervals of hundreds of steps; a short run would show their first time alone
RARE = ('checkpoint', 'reconstruction', 'health', 'results', 'predictions')
# What mmpretrain's simmim_swin-*.py and mmseg's swin-*_upernet_*.py state
NO_DECAY = dict(simmim=('norm', 'bias', 'absolute_pos_embed', 'relative_position_bias_table'),
                upernet=('absolute_pos_embed', 'relative_position_bias_table', 'norm'))


def training_config(job: Mapping[str, Any], stock: bool) -> Config:
    """Config of the run that a job describes.

    Args:
        job: ``phase`` (``pretrain`` or ``finetune``), ``model`` (file in ``configs/_base_/models``), ``size`` (px),
            ``batch``, ``workers``, ``tiles`` (folder of synthetic scenes) and ``tile`` (their side), ``images`` (folder
            of the images to pretrain on), ``steps`` (iterations), ``backbone`` (settings of both backbones) and
            ``options`` (of this run alone, as in ``--cfg-options``).
        stock: The stock toolchain's instead of ours.

    Returns:
        A config for :func:`build_runner`, without validation and test.
    """
    cfg = _shipped(job)
    if stock:
        cfg = (stock_simmim_run if job['phase'] == 'pretrain' else _stock_upernet)(cfg, job)
    cfg.train_dataloader.update(num_workers=job['workers'], persistent_workers=job['workers'] > 0)
    where = cfg.train_cfg if 'global_batch' in cfg.train_cfg else cfg.train_dataloader
    where['global_batch' if where is cfg.train_cfg else 'batch_size'] = job['batch']
    cfg.train_cfg.max_iters = job['steps']
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg[key] = None
    cfg.merge_from_dict(dict(job.get('options') or {}))
    settle_schedule(cfg)
    return cfg


def build_runner(cfg: Config, work_dir: str | Path, stock: bool) -> Runner:
    """Runner of a config of :func:`training_config`, as ``tools/train.py`` or MMEngine alone would make it."""
    cfg.work_dir = str(work_dir)
    adapt_to_device(cfg)  # of stock configs it changes SyncBN alone, where there is no GPU
    return (Runner if stock else ConsoleRunner).from_cfg(cfg)


def _shipped(job: Mapping[str, Any]) -> Config:
    files = [str(SHIPPED / 'configs/_base_' / name) for name in (f'models/{job["model"]}', *BASES[job['phase']])]
    cfg = Config.fromstring(f'_base_ = {files}\n', '.py')
    for name in RARE:
        cfg.default_hooks.pop(name, None)
    cfg.default_hooks.checkpoint = None
    cfg.model.backbone.update(job.get('backbone') or {})
    dataset = cfg.train_dataloader.dataset
    for step in dataset.pipeline:
        if 'crop_size' in step:
            step.crop_size = job['size']
    if job['phase'] == 'pretrain':
        cfg.model.backbone.img_size = job['size']
        dataset.update(data_root=str(job['images']), min_size=job['size'])
        return cfg
    dataset.update(data_root=str(job['tiles']), img_suffix='.png', metainfo=dict(METAINFO),
                   data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'))
    cfg.model.data_preprocessor.size = (job['size'], job['size'])
    cfg.train_dataloader.sampler.budget = 1.0
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.num_classes = len(CLASSES)
    return cfg


def stock_simmim_run(ours: Config, job: Mapping[str, Any]) -> Config:
    """As mmpretrain's configs of SimMIM with Swin: whole tiles are decoded, masks are drawn in the loader."""
    init_default_scope('mmpretrain')
    model = egmim_model(ours)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=job['size'], crop_ratio_range=(0.67, 1.0)),
        dict(type='RandomFlip', prob=0.5),
        dict(type='SimMIMMaskGenerator', input_size=job['size'], mask_patch_size=32, model_patch_size=4,
             mask_ratio=0.6),
        dict(type='PackInputs')
    ]
    dataset = dict(type='CustomDataset', data_root=str(job['images']), with_label=False, pipeline=pipeline)
    return _stock(ours, 'mmpretrain', stock_simmim(model, MODELS.build(deepcopy(model.backbone)).num_features[3]),
                  dict(sampler=dict(type='InfiniteSampler', shuffle=True), collate_fn=dict(type='default_collate'),
                       dataset=dataset), 'simmim')


def _stock_upernet(ours: Config, job: Mapping[str, Any]) -> Config:
    """As mmseg's configs of UperNet with Swin for aerial data sets: whole tiles are decoded, scaled, then cropped."""
    init_default_scope('mmseg')
    size = job['size']
    crop = next(step for step in ours.train_dataloader.dataset.pipeline if 'crop_size' in step)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomResize', scale=(job['tile'], job['tile']), ratio_range=tuple(crop.scale_range),
             keep_ratio=True),
        dict(type='RandomCrop', crop_size=(size, size), cat_max_ratio=crop.cat_max_ratio),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackSegInputs')
    ]
    dataset = dict(type='BaseSegDataset', data_root=str(job['tiles']), img_suffix='.png', metainfo=dict(METAINFO),
                   data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'), pipeline=pipeline)
    return _stock(ours, 'mmseg', stock_upernet(ours.model),
                  dict(sampler=dict(type='InfiniteSampler', shuffle=True), dataset=dataset), 'upernet')


def _stock(ours: Config, scope: str, model: dict, loader: dict, decay: str) -> Config:
    optimizer = ours.optim_wrapper
    wrapper = dict(type='OptimWrapper', optimizer=optimizer.optimizer.to_dict(), paramwise_cfg=dict(
        custom_keys={key: dict(decay_mult=0.0) for key in NO_DECAY[decay]}))
    if 'clip_grad' in optimizer:
        wrapper['clip_grad'] = optimizer.clip_grad.to_dict()
    return Config(dict(
        default_scope=scope, model=model, train_dataloader=loader, optim_wrapper=wrapper,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1),
        param_scheduler=[scheduler.to_dict() for scheduler in ours.param_scheduler],
        auto_scale_lr=ours.auto_scale_lr.to_dict(),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=50), checkpoint=None),
        log_processor=dict(by_epoch=False), env_cfg=ours.env_cfg.to_dict(), randomness=dict(seed=0)))
