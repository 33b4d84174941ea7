# terms balanced by what is explained, not by size
_base_ = '../egmim_dapt.py'

model = dict(balance=dict(type='egmim_mm.SkillBalance'))
