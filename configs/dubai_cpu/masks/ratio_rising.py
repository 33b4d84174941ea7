# a hidden share that rises
_base_ = '../egmim_dapt.py'

model = dict(mask_generator=dict(schedule=dict(ratio=(0.4, 0.75))))
