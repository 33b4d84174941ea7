# cells of 32 px, then 16, then 8
_base_ = '../egmim_dapt.py'

model = dict(mask_generator=dict(schedule=dict(cell_size=(32, 16, 8))))
