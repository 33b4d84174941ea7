_base_ = './upernet_loveda.py'

model = dict(backbone=dict(arch='small'))
