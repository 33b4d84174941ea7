# pixels alone
_base_ = './base.py'

model = dict(
    mask_generator=dict(policy='edge_stratified', cell_size=16),
    terms=[dict(type='egmim_mm.PixelTerm', gamma=0.0)])
