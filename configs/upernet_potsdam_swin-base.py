_base_ = './upernet_potsdam.py'

model = dict(backbone=dict(arch='base'))
