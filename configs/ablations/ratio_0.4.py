_base_ = './base.py'

model = dict(mask_generator=dict(ratio=0.4))
