# stages 2 and 3 predict stage 3 of an average of the student, brought to stage 2 by edges
_base_ = '../egmim_dapt.py'

model = dict(terms=[
    *_base_.model.terms, dict(type='egmim_mm.TeacherTerm', teacher='ema', stages=(1, 2), source=2, edges='own')])
