# stays near the backbone it starts from: needs --backbone
_base_ = './base.py'

model = dict(backbone=dict(out_indices=(0, 1, 2, 3)), anchor=dict(weight=1.0))
