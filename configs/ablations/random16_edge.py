# pixels with edge weights and the structure head's edge target
_base_ = './base.py'

model = dict(
    mask_generator=dict(policy='random', cell_size=16),
    terms=[
        dict(type='egmim_mm.PixelTerm', gamma=1.0),
        dict(type='egmim_mm.StructureTerm', hog_bins=0, weight=0.5),
    ])
