# cells of 8 px
_base_ = '../egmim_dapt.py'

model = dict(mask_generator=dict(cell_size=8))
