model = dict(
    type='egmim_mm.EGMIM',
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='egmim_mm.MaskedSwinTransformer',
        arch='tiny',
        img_size=224,
        window_size=7,
        out_indices=(0, 1, 3),  # what the heads read; norms of other stages would get no gradient
        drop_path_rate=0.0),  # as Microsoft's SimMIM; mmpretrain leaves 0.1
    edge_prior=dict(type='egmim_mm.EdgePrior', operator='gaussian_sobel'),
    mask_generator=dict(type='egmim_mm.EdgeGuidedMaskGenerator', policy='edge_stratified', ratio=0.6),
    head=dict(
        type='egmim_mm.EdgeWeightedReconstructionHead',
        in_channels=768,
        loss=dict(type='egmim_mm.EdgeWeightedL1Loss', gamma=1.0)),
    structure_head=dict(type='egmim_mm.EdgeStructureHead', in_channels=(96, 192)),
    structure_weight=0.5)
