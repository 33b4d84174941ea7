# ISPRS Potsdam in mmsegmentation's layout, 512-px crops (3456 / 2016); classes and file values as in Vaihingen
_base_ = './vaihingen.py'

tiles = dict(type='egmim_mm.Potsdam', data_root='data/potsdam')
train_dataloader = dict(dataset=tiles)
val_dataloader = dict(dataset=tiles)
test_dataloader = val_dataloader
dev_tiles = ['6_7_*', '6_8_*', '7_7_*', '7_8_*']  # --dev: a block of four of the twenty-four training areas
