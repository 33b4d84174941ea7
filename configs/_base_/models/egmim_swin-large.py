_base_ = './egmim_swin-tiny.py'

model = dict(
    backbone=dict(arch='large'), head=dict(in_channels=1536), structure_head=dict(in_channels=(192, 384)))
