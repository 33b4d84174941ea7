_base_ = './base.py'

model = dict(structure_weight=1.0)
