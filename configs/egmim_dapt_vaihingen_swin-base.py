_base_ = './egmim_dapt_vaihingen.py'

model = dict(backbone=dict(arch='base'))
