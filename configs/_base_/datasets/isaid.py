# iSAID in mmsegmentation's layout, 896-px patches with an overlap of 384 (33,978 / 11,644). Classes, palette, file
# values and names are those of the class egmim_mm.ISAID: background and fifteen classes.
_base_ = './segmentation.py'

tiles = dict(type='egmim_mm.ISAID', data_root='data/iSAID')
train_dataloader = dict(
    sampler=dict(unit='source'),  # patches overlap: a budget over patches would hold parts of unlabelled ones
    dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train')))
val_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val')))
test_dataloader = val_dataloader
dev_tiles = ['P???7_*']  # --dev: all patches of a tenth of the source images
