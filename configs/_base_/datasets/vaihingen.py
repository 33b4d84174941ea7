# ISPRS Vaihingen in mmsegmentation's layout, 512-px crops (344 / 398). File values: 0 = eroded border,
# 1-5 = classes, 6 = clutter. Five classes are evaluated; for six, add the class and move 6 to mask_values.
_base_ = './segmentation.py'

metainfo = dict(
    classes=('impervious_surface', 'building', 'low_vegetation', 'tree', 'car'),
    palette=[
        [255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0],
        [255, 255, 0]
    ])
tiles = dict(
    data_root='data/vaihingen',
    metainfo=metainfo,
    img_suffix='.png',
    source_pattern=r'(.+?)(?:_\d+){4}$',  # the image a tile was cut from, for budgets over whole images
    mask_values=(1, 2, 3, 4, 5),
    ignore_values=(0, 6))
train_dataloader = dict(dataset=dict(**tiles, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train')))
# Boundary metrics need the full reference: the eroded one has no boundaries. '' if there is none.
val_dataloader = dict(
    dataset=dict(
        **tiles,
        data_prefix=dict(
            img_path='img_dir/val', seg_map_path='ann_dir/val', full_seg_map_path='ann_dir_full/val')))
test_dataloader = val_dataloader
