# hardness.py whose teacher is a loss term as well, of the same forward pass
_base_ = '../egmim_dapt.py'

model = dict(terms=[
    *_base_.model.terms,
    dict(type='egmim_mm.TeacherTerm', teacher='ema', every=1),
    dict(type='egmim_mm.HardnessTerm')
])
