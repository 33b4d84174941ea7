_base_ = './simmim_dapt_vaihingen.py'

model = dict(backbone=dict(arch='base'))
