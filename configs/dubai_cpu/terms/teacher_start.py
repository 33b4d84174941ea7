# features of the weights that the run starts from: needs --backbone
_base_ = '../egmim_dapt.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.TeacherTerm', teacher='start')])
