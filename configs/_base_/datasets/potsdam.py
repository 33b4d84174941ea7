# ISPRS Potsdam in mmsegmentation's layout, 512-px crops (3456 / 2016); classes and file values as in Vaihingen
_base_ = './vaihingen.py'

train_dataloader = dict(dataset=dict(data_root='data/potsdam'))
val_dataloader = dict(dataset=dict(data_root='data/potsdam'))
test_dataloader = val_dataloader
