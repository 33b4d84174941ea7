_base_ = './simmim_dapt_potsdam.py'

model = dict(backbone=dict(arch='base'))
