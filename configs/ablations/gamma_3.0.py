_base_ = './base.py'

model = dict(head=dict(loss=dict(gamma=3.0)))
