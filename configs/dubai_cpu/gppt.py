# The general-purpose phase of docs/results/dubai.md at CPU size: SimMIM on RSSCN7 (2,800 scenes of 256 px)
_base_ = ['./_pretrain.py', '../_base_/models/simmim_swin-nano.py', '../_base_/pretrain_runtime.py']

train_cfg = dict(max_iters=1200)  # from random weights: twice the learning rate of DAPT
train_dataloader = dict(dataset=dict(data_root='data/rsscn7_256', include=None))
