# pixels, edges weigh more
_base_ = './base.py'

model = dict(
    backbone=dict(out_indices=(3, )),
    mask_generator=dict(policy='random', cell_size=16),
    structure_head=None)
