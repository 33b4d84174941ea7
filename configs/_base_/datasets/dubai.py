# MBRSC Dubai as published: tile_N/{images,masks}, masks in colour (the palette), eight tiles of nine adjacent
# parts. In-domain protocol: parts 1-6 train (48 images), parts 7-9 test (24). With --dev parts 1-4 train (32) and parts
# 5-6 are evaluated (16).
_base_ = './segmentation.py'

metainfo = dict(
    classes=('building', 'land', 'road', 'vegetation', 'water'),
    palette=[
        [60, 16, 152], [132, 41, 246], [110, 193, 228], [254, 221, 58],
        [226, 169, 41]
    ])
tiles = dict(
    data_root='data/dubai',
    metainfo=metainfo,
    data_prefix=dict(img_path='*/images', seg_map_path='*/masks'),
    img_suffix='.jpg',
    mask_format='color',
    ignore_values=('#9B9B9B', '#000000'))
train_dataloader = dict(dataset=dict(**tiles, include='*image_part_00[1-6]'))
val_dataloader = dict(dataset=dict(**tiles, include='*image_part_00[7-9]'))
test_dataloader = val_dataloader
dev_tiles = ['*image_part_00[56]']
