# 2.3 M parameters, for the quickstart: twice as fast as nano, so that a few minutes of pretraining teach something
_base_ = './egmim_swin-nano.py'

model = dict(backbone=dict(arch=dict(embed_dims=32, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])))
