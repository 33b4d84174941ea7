_base_ = './simmim_dapt_isaid.py'

model = dict(backbone=dict(arch='base'))
