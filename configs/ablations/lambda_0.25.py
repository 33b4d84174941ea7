_base_ = './base.py'

model = dict(terms=[_base_.model.terms[0], dict(type='egmim_mm.StructureTerm', weight=0.25)])
