_base_ = './base.py'

model = dict(mask_generator=dict(beta=0.0))
