_base_ = ['../_base_/datasets/unlabeled.py', '../_base_/schedules/dapt.py']

train_pipeline = [
    dict(type='egmim_mm.LoadTile', cache_mb=1000),  # decoded tiles fit into memory
    dict(type='egmim_mm.RandomScaledCrop', crop_size=128, scale_range=(0.67, 1.5)),
    dict(type='egmim_mm.RandomMirror', prob=0.5),
    dict(type='egmim_mm.RandomQuarterTurn'),
    dict(type='PackInputs', algorithm_keys=['valid'])
]
train_cfg = dict(global_batch=32, max_iters=400)
auto_scale_lr = dict(base_batch_size=32)
# 1e-4 per 512 images is for long runs; a few hundred steps of 32 need a larger one to learn anything
optim_wrapper = dict(optimizer=dict(lr=4e-4))
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root='data/dubai', include='*/images/image_part_00[1-6]', min_size=128, pipeline=train_pipeline))
