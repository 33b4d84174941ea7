_base_ = './egmim_dapt_isaid.py'

model = dict(backbone=dict(arch='small'))
