# emphasis on edges that falls in place of rising
_base_ = '../egmim_dapt.py'

model = dict(mask_generator=dict(schedule=dict(emphasis='falling')))
