# General-purpose pretraining that the ablations start from: SimMIM on RSSCN7 (2,800 scenes of 256 px)
_base_ = './random32_pixel.py'

train_cfg = dict(global_batch=32, max_iters=600)  # from random weights: twice the learning rate of DAPT
auto_scale_lr = dict(base_batch_size=32)
train_dataloader = dict(dataset=dict(data_root='data/rsscn7_256', include=None))
