# pixels, edges weigh more
_base_ = './base.py'

model = dict(
    backbone=dict(out_indices=(3, )),
    mask_generator=dict(policy='random_adaptive'),
    structure_head=None)
