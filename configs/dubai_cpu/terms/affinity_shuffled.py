# control of affinity.py: its edges in random order
_base_ = '../egmim_dapt.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.EdgeAffinityTerm', edges='shuffled')])
