# control of hardness.py: no edges in the mask
_base_ = '../egmim_dapt.py'

model = dict(terms=[
    *_base_.model.terms,
    dict(type='egmim_mm.TeacherTerm', teacher='ema', stages=(2, ), loss='none'),
    dict(type='egmim_mm.HardnessTerm', edges=False)
])
