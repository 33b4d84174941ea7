# stays near the backbone it starts from: needs --backbone
_base_ = './base.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.AnchorTerm', weight=1.0)])
