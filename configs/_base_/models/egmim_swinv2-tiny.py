# Swin V2 (Liu et al., CVPR 2022); 256-px crops: set crop_size=256 and min_size=256 in the data config
_base_ = './egmim_swin-tiny.py'

model = dict(backbone=dict(type='egmim_mm.MaskedSwinTransformerV2', img_size=256, window_size=8))
