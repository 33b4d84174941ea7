# edges are where neighbouring features of an average of the student differ
_base_ = '../egmim_dapt.py'

model = dict(
    edge_prior=dict(operator='features'),
    terms=[*_base_.model.terms, dict(type='egmim_mm.TeacherTerm', teacher='ema', stages=(1, ), loss='none')])
