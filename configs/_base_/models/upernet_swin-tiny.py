# UperNet + FCN auxiliary head as mmsegmentation's upernet_swin.py; in_channels of the heads follow from the backbone
norm_cfg = dict(type='SyncBN', requires_grad=True)  # becomes BN without a GPU
model = dict(
    type='egmim_mm.FittedEncoderDecoder',
    data_preprocessor=dict(
        type='egmim_mm.TilePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512)),
    backbone=dict(
        type='egmim_mm.MaskedSwinTransformer',
        arch='tiny',
        img_size=224,
        window_size=7,
        drop_path_rate=0.1,  # 1 % of the labels; 0.3 when all labels are used
        use_mask_token=False),
    decode_head=dict(
        type='egmim_mm.UPerHead',
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=5,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='egmim_mm.LabelledCrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=dict(
        type='egmim_mm.FCNHead',
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=5,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='egmim_mm.LabelledCrossEntropyLoss', loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
