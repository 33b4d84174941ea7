# EGMIM from scratch on synthetic scenes, a few minutes on two cores
_base_ = [
    '../_base_/models/egmim_swin-pico.py', '../_base_/datasets/unlabeled.py', '../_base_/schedules/dapt.py',
    '../_base_/pretrain_runtime.py'
]

train_pipeline = [
    dict(type='egmim_mm.LoadTile', cache_mb=500),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=128, scale_range=(0.67, 1.5)),
    dict(type='egmim_mm.RandomMirror', prob=0.5),
    dict(type='egmim_mm.RandomQuarterTurn'),
    dict(type='PackInputs', algorithm_keys=['valid'])
]
train_cfg = dict(global_batch=32, max_iters=700)
auto_scale_lr = dict(base_batch_size=32)
lr_factor_from_scratch = 1.0
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # large, because the run is short
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=10))
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='data/quickstart/img_dir/unlabeled', min_size=128, pipeline=train_pipeline))
