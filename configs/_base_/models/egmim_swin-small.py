_base_ = './egmim_swin-tiny.py'

model = dict(backbone=dict(arch='small'))
