# features agree unless an edge separates them
_base_ = '../egmim_dapt.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.EdgeAffinityTerm')])
