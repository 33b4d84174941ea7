# control of affinity.py: no edges
_base_ = '../egmim_dapt.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.EdgeAffinityTerm', edges='uniform')])
