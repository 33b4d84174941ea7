# full emphasis on edges from the first step
_base_ = '../egmim_dapt.py'

model = dict(mask_generator=dict(schedule=dict(emphasis='full')))
