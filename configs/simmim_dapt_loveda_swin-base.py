_base_ = './simmim_dapt_loveda.py'

model = dict(backbone=dict(arch='base'))
