# LoveDA in mmsegmentation's layout, 1024-px images (2522 / 1669). Classes, palette and file values are those of the
# class egmim_mm.LoveDA: seven classes, no data ignored.
_base_ = './segmentation.py'

tiles = dict(type='egmim_mm.LoveDA', data_root='data/loveda')
train_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train')))
val_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val')))
test_dataloader = val_dataloader
# --dev: images have no coordinates, so ranges of their numbers, 200 rural (of 0-1365) and 200 urban (of 1366-2521)
dev_tiles = ['1[01]??', '2[34]??']
