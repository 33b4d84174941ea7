# gradient loss on the composite image
_base_ = './base.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.GradientTerm', weight=0.5)])
