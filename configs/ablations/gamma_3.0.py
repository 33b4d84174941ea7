_base_ = './base.py'

model = dict(terms=[dict(type='egmim_mm.PixelTerm', gamma=3.0), _base_.model.terms[1]])
