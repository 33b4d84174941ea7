# SimMIM (Xie et al., CVPR 2022): random 32-px cells, plain L1, nothing on the shallow stages
_base_ = './egmim_swin-nano.py'

model = dict(
    backbone=dict(out_indices=(3, )),
    mask_generator=dict(policy='random'),
    head=dict(loss=dict(gamma=0.0)),
    structure_head=None)
