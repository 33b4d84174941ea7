# Pretraining: set train_dataloader.dataset.data_root to a folder of images. Crops keep the ground resolution
# (scale 0.67-1.5), because fine-tuning and prediction see tiles at native scale; no colour jitter.
train_pipeline = [
    dict(type='egmim_mm.LoadTile', cache_dir='.egmim_cache'),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=224, scale_range=(0.67, 1.5)),
    dict(type='egmim_mm.RandomMirror', prob=0.5),
    dict(type='egmim_mm.RandomQuarterTurn'),
    dict(type='PackInputs', algorithm_keys=['valid'])  # padding of small tiles
]
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='egmim_mm.StreamSampler'),
    dataset=dict(type='egmim_mm.UnlabeledTiles', data_root='data', min_size=224, pipeline=train_pipeline))
