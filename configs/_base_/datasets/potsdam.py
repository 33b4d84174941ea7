# ISPRS Potsdam in mmsegmentation's layout, 512-px crops (3456 / 2016); classes and file values as in Vaihingen
_base_ = './vaihingen.py'

tiles = dict(type='egmim_mm.Potsdam', data_root='data/potsdam')
train_dataloader = dict(dataset=tiles)
val_dataloader = dict(dataset=tiles)
test_dataloader = val_dataloader
