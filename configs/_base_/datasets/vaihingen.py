# ISPRS Vaihingen in mmsegmentation's layout, 512-px crops (344 / 398). Classes, palette and file values are those of
# the class egmim_mm.Vaihingen: five classes, clutter ignored. Six: num_classes=6 here, and in the heads of the model.
_base_ = './segmentation.py'

tiles = dict(type='egmim_mm.Vaihingen', data_root='data/vaihingen')
train_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train')))
# Boundary metrics need the full reference: the eroded one has no boundaries. '' if there is none.
val_dataloader = dict(
    dataset=dict(
        **tiles,
        data_prefix=dict(
            img_path='img_dir/val', seg_map_path='ann_dir/val', full_seg_map_path='ann_dir_full/val')))
test_dataloader = val_dataloader
dev_tiles = ['area15_*', 'area28_*', 'area34_*']  # --dev: three of the sixteen training areas
