# UperNet on 5 % of the labels of the synthetic scenes
_base_ = [
    '../_base_/models/upernet_swin-pico.py', '../_base_/datasets/segmentation.py', '../_base_/schedules/finetune.py',
    '../_base_/segmentation_runtime.py'
]

tiles = dict(
    data_root='data/quickstart',
    img_suffix='.png',
    metainfo=dict(
        classes=('impervious', 'building', 'low_vegetation', 'tree', 'car', 'water', 'clutter'),
        palette=[[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [0, 96, 128], [255, 0, 0]]))
train_pipeline = [
    dict(type='egmim_mm.LoadTile', cache_mb=200),
    dict(type='egmim_mm.LoadTileMask', cache_mb=100),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=128, scale_range=(0.75, 1.33), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='egmim_mm.RandomQuarterTurn'),
    dict(type='egmim_mm.PackTiles')
]
# one over the square root of the classes' shares: without weights, cars and water are never learned in 300 iterations
loss = dict(class_weight=[0.6, 0.8, 0.6, 1.1, 2.4, 2.2, 3.0])
model = dict(
    decode_head=dict(num_classes=7, loss_decode=loss), auxiliary_head=dict(num_classes=7, loss_decode=loss))
train_cfg = dict(max_iters=300)
label_presets = _base_.cpu_label_presets  # of --budget
# Tuned on the synthetic scenes, for all initialisations alike: a few hundred steps need a large learning rate for the
# new heads (3e-3), a moderate one for the backbone, and mild augmentation
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(custom_keys={
        'decode_head': dict(lr_mult=30.0),
        'auxiliary_head': dict(lr_mult=30.0)
    }))
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=10))
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    sampler=dict(budget=0.05),
    dataset=dict(
        **tiles, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'), pipeline=train_pipeline))
# tested once, by tools/test.py
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val')))
dev_tiles = ['scene_001[89]?']  # --dev: the last tenth of the 200 training scenes
