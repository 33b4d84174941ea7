# Pipelines and loaders shared by the segmentation data sets: tiles of 512 px or more, 512-px crops
train_pipeline = [
    dict(type='egmim_mm.LoadTile', cache_dir='.egmim_cache'),
    dict(type='egmim_mm.LoadTileMask', cache_dir='.egmim_cache'),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=512, scale_range=(0.5, 2.0), cat_max_ratio=0.75),
    dict(type='egmim_mm.PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='egmim_mm.RandomQuarterTurn'),
    dict(type='egmim_mm.PackTiles')
]
meta_keys = ('img_path', 'seg_map_path', 'full_seg_map_path', 'mask_table', 'tile_name', 'ori_shape', 'img_shape',
             'flip', 'flip_direction')
test_pipeline = [
    dict(type='egmim_mm.LoadTile'),
    dict(type='egmim_mm.LoadTileMask'),
    dict(type='PackSegInputs', meta_keys=meta_keys)
]
# tools/test.py --tta: average over the image and its two mirror images
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='egmim_mm.LoadTile'),
    dict(
        type='TestTimeAug',
        transforms=[[
            dict(type='RandomFlip', prob=0.0),
            dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            dict(type='RandomFlip', prob=1.0, direction='vertical')
        ], [dict(type='egmim_mm.LoadTileMask')], [dict(type='PackSegInputs', meta_keys=meta_keys)]])
]
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='egmim_mm.stack_tiles'),
    sampler=dict(type='egmim_mm.LabelBudgetSampler', budget=0.01, seed=0),
    dataset=dict(type='egmim_mm.SegmentationTiles', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='egmim_mm.SegmentationTiles', test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
# Boundaries are measured in the test alone; in each validation as well: val_evaluator = test_evaluator
val_evaluator = [dict(type='egmim_mm.SegmentationMetric')]
test_evaluator = [dict(type='egmim_mm.SegmentationMetric'), dict(type='egmim_mm.BoundaryMetric')]
