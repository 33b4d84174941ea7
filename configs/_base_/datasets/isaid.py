# iSAID in mmsegmentation's layout, 896-px patches with an overlap of 384 (33,978 / 11,644).
# File values: 0 = background, 1-15 = classes.
_base_ = './segmentation.py'

metainfo = dict(
    classes=('background', 'ship', 'store_tank', 'baseball_diamond', 'tennis_court',
             'basketball_court', 'ground_track_field', 'bridge', 'large_vehicle', 'small_vehicle',
             'helicopter', 'swimming_pool', 'roundabout', 'soccer_ball_field', 'plane',
             'harbor'),
    palette=[
        [0, 0, 0], [0, 0, 63], [0, 63, 63], [0, 63, 0],
        [0, 63, 127], [0, 63, 191], [0, 63, 255], [0, 127, 63],
        [0, 127, 127], [0, 0, 127], [0, 0, 191], [0, 0, 255],
        [0, 191, 127], [0, 127, 191], [0, 127, 255], [0, 100, 155]
    ])
tiles = dict(
    data_root='data/iSAID',
    metainfo=metainfo,
    img_suffix='.png',
    source_pattern=r'(P\d+)_',  # the image a patch was cut from
    seg_map_suffix='_instance_color_RGB.png')
train_dataloader = dict(
    sampler=dict(unit='source'),  # patches overlap: a budget over patches would hold parts of unlabelled ones
    dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train')))
val_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val')))
test_dataloader = val_dataloader
