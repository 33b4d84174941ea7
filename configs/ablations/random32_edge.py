# pixels with edge weights and the structure head's edge target
_base_ = './base.py'

model = dict(
    mask_generator=dict(policy='random', cell_size=32),
    structure_head=dict(hog_bins=0))
