# General-purpose pretraining (GPPT): SimMIM on a large corpus of any images, from random weights; docs/gppt.md
_base_ = [
    '_base_/models/simmim_swin-tiny.py', '_base_/datasets/unlabeled.py', '_base_/schedules/dapt.py',
    '_base_/pretrain_runtime.py'
]

train_cfg = dict(max_iters=100000)  # from random weights: twice the learning rate of a start from a checkpoint
default_hooks = dict(checkpoint=dict(interval=5000))
# every image below the folder, or those of a list: data_root='/', list_file='corpus.txt' (one path a line);
# among a million files some are broken: they are skipped, with a line in the log each
train_dataloader = dict(dataset=dict(data_root='data/gppt', list_file=None, on_error='skip'))
