# for CPUs: the backbone of egmim_swin-nano.py
_base_ = './readout_swin-tiny.py'

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=48, depths=[2, 2, 6, 2], num_heads=[2, 4, 8, 16]),
        img_size=128,
        window_size=4))
