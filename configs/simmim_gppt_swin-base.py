# As simmim_gppt_swin-tiny.py, with Swin-B
_base_ = './simmim_gppt_swin-tiny.py'

model = dict(backbone=dict(arch='base'))
