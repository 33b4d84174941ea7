# SimMIM (Xie et al., CVPR 2022): random 32-px cells, plain L1, nothing on the shallow stages
_base_ = './egmim_swin-small.py'

model = dict(mask_generator=dict(policy='random'), terms=[dict(type='egmim_mm.PixelTerm', gamma=0.0)])
