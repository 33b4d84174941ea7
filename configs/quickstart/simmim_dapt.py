# SimMIM on the synthetic scenes: the control of egmim_dapt.py
_base_ = './egmim_dapt.py'

model = dict(mask_generator=dict(policy='random'), terms=[dict(type='egmim_mm.PixelTerm', gamma=0.0)])
