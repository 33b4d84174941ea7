_base_ = './egmim_dapt_potsdam.py'

model = dict(backbone=dict(arch='small'))
