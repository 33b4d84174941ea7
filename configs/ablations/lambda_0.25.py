_base_ = './base.py'

model = dict(structure_weight=0.25)
