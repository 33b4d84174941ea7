# pixels alone
_base_ = './base.py'

model = dict(
    mask_generator=dict(policy='edge_adaptive'),
    terms=[dict(type='egmim_mm.PixelTerm', gamma=0.0)])
