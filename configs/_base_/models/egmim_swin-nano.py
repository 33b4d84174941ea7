# 6.9 M parameters for CPUs: SimMIM or EGMIM at about 30-40 images/s on two cores
_base_ = './egmim_swin-tiny.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=48, depths=[2, 2, 6, 2], num_heads=[2, 4, 8, 16]),
        img_size=128,
        window_size=4))
