# pixels alone
_base_ = './base.py'

model = dict(
    backbone=dict(out_indices=(3, )),
    mask_generator=dict(policy='random_adaptive'),
    head=dict(loss=dict(gamma=0.0)),
    structure_head=None)
