_base_ = './upernet_swin-tiny.py'

model = dict(backbone=dict(arch='large'))
