_base_ = './egmim_swin-tiny.py'

model = dict(
    backbone=dict(arch='base'), head=dict(in_channels=1024), structure_head=dict(in_channels=(128, 256)))
