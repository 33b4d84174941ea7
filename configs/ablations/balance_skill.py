_base_ = './base.py'

model = dict(balance=dict(type='egmim_mm.SkillBalance'))
