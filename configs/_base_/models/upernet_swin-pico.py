# the backbone of egmim_swin-pico.py
_base_ = './upernet_swin-nano.py'

model = dict(backbone=dict(arch=dict(embed_dims=32, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])))
