# pixels, edges weigh more
_base_ = './base.py'

model = dict(
    mask_generator=dict(policy='random', cell_size=32),
    terms=[dict(type='egmim_mm.PixelTerm', gamma=1.0)])
