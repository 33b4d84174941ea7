model = dict(
    type='egmim_mm.EGMIM',
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='egmim_mm.MaskedSwinTransformer',
        arch='tiny',
        img_size=224,
        window_size=7,
        drop_path_rate=0.0),  # as Microsoft's SimMIM; mmpretrain leaves 0.1
    # the floor is measured on the training data before the first step
    edge_prior=dict(type='egmim_mm.EdgePrior', operator='gaussian_sobel', floor='auto'),
    mask_generator=dict(type='egmim_mm.EdgeGuidedMaskGenerator', policy='edge_stratified', ratio=0.6),
    # a line per term; what a term reads (stages, channels) follows from it
    terms=[
        dict(type='egmim_mm.PixelTerm', gamma=1.0),
        dict(type='egmim_mm.StructureTerm', hog_bins=9, weight=0.5),
    ])
