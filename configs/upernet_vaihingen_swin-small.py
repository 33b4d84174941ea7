_base_ = './upernet_vaihingen.py'

model = dict(backbone=dict(arch='small'))
