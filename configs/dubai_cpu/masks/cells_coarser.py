# cells of 8 px, then 16, then 32
_base_ = '../egmim_dapt.py'

model = dict(mask_generator=dict(schedule=dict(cell_size=(8, 16, 32))))
