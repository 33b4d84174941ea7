_base_ = './default_runtime.py'

default_scope = 'mmpretrain'
default_hooks = dict(mask_curriculum=dict(type='egmim_mm.MaskCurriculumHook'))
