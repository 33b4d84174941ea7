_base_ = './upernet_isaid.py'

model = dict(backbone=dict(arch='base'))
