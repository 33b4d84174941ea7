# features of an average of the student
_base_ = '../egmim_dapt.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.TeacherTerm', teacher='ema')])
