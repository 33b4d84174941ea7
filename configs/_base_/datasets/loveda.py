# LoveDA in mmsegmentation's layout, 1024-px images (2522 / 1669). File values: 0 = no data, 1-7 = classes.
_base_ = './segmentation.py'

metainfo = dict(
    classes=('background', 'building', 'road', 'water', 'barren',
             'forest', 'agricultural'),
    palette=[
        [255, 255, 255], [255, 0, 0], [255, 255, 0], [0, 0, 255],
        [159, 129, 183], [0, 255, 0], [255, 195, 128]
    ])
tiles = dict(
    data_root='data/loveda',
    metainfo=metainfo,
    img_suffix='.png',
    mask_values=(1, 2, 3, 4, 5, 6, 7),
    ignore_values=(0, ))
train_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train')))
val_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val')))
test_dataloader = val_dataloader
