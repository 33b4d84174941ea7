# the backbone of egmim_swinv2-tiny.py
_base_ = './upernet_swin-tiny.py'

model = dict(backbone=dict(type='egmim_mm.MaskedSwinTransformerV2', img_size=256, window_size=8))
