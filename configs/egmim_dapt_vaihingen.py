_base_ = [
    '_base_/models/egmim_swin-tiny.py', '_base_/datasets/unlabeled.py', '_base_/schedules/dapt.py',
    '_base_/pretrain_runtime.py'
]

# training images only, without their labels
train_dataloader = dict(dataset=dict(data_root='data/vaihingen/img_dir/train'))
