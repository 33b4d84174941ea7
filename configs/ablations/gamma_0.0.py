_base_ = './base.py'

model = dict(terms=[dict(type='egmim_mm.PixelTerm', gamma=0.0), _base_.model.terms[1]])
