# edges times what an average of the student says will be hard
_base_ = '../egmim_dapt.py'

model = dict(terms=[
    *_base_.model.terms,
    dict(type='egmim_mm.TeacherTerm', teacher='ema', stages=(2, ), loss='none'),
    dict(type='egmim_mm.HardnessTerm')
])
