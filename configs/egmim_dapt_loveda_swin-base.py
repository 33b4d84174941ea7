_base_ = './egmim_dapt_loveda.py'

model = dict(backbone=dict(arch='base'))
