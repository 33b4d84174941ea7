_base_ = [
    '../_base_/models/upernet_swin-nano.py', '../_base_/datasets/dubai.py', '../_base_/schedules/finetune.py',
    '../_base_/segmentation_runtime.py'
]

train_pipeline = [
    dict(type='egmim_mm.LoadTile', cache_mb=1000),
    dict(type='egmim_mm.LoadTileMask', cache_mb=500),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=128, scale_range=(0.75, 1.33), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='egmim_mm.RandomQuarterTurn'),
    dict(type='egmim_mm.PackTiles')
]
train_cfg = dict(max_iters=100, val_interval=10000)
label_presets = _base_.cpu_label_presets  # of --budget
# Tuned on the synthetic scenes, for all initialisations alike: a few hundred steps need a large learning rate for the
# new heads (3e-3), a moderate one for the backbone, and mild augmentation
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(custom_keys={
        'decode_head': dict(lr_mult=30.0),
        'auxiliary_head': dict(lr_mult=30.0)
    }))
# two labelled images; class-covering choice
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    sampler=dict(budget=2),
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
