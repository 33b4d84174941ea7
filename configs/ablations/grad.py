# gradient loss on the composite image
_base_ = './base.py'

model = dict(grad_weight=0.5)
