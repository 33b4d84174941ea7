_base_ = './base.py'

model = dict(head=dict(loss=dict(gamma=0.0)))
