# control of affinity.py: edges of another image
_base_ = '../egmim_dapt.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.EdgeAffinityTerm', edges='other')])
