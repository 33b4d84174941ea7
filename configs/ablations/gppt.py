# General-purpose pretraining that the ablations start from: SimMIM on RSSCN7 (2,800 scenes of 256 px)
_base_ = './random32_pixel.py'

train_cfg = dict(max_iters=600)
optim_wrapper = dict(optimizer=dict(lr=8e-4))  # from scratch
train_dataloader = dict(batch_size=32, dataset=dict(data_root='data/rsscn7_256', include=None))
