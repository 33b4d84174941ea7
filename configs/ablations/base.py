# Each file of this folder changes one thing of this one: EGMIM on the 48 training images of Dubai, at CPU size. Start
# it from the weights of gppt.py (--backbone). For another data set or backbone change this file alone.
_base_ = [
    '../_base_/models/egmim_swin-pico.py', '../_base_/datasets/unlabeled.py', '../_base_/schedules/dapt.py',
    '../_base_/pretrain_runtime.py'
]

train_pipeline = [
    dict(type='egmim_mm.LoadTile', cache_mb=1000),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=128, scale_range=(0.67, 1.5)),
    dict(type='egmim_mm.RandomMirror', prob=0.5),
    dict(type='egmim_mm.RandomQuarterTurn'),
    dict(type='PackInputs', algorithm_keys=['valid'])
]
train_cfg = dict(global_batch=16, max_iters=150)
auto_scale_lr = dict(base_batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=4e-4))  # large, because the run is short
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root='data/dubai', include='*/images/image_part_00[1-6]', min_size=128, pipeline=train_pipeline))
