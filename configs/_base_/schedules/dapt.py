# lr 1e-4 per 512 images when starting from a checkpoint (2e-4 from scratch); schedules in shares of max_iters
train_cfg = dict(type='IterBasedTrainLoop', max_iters=10000)
auto_scale_lr = dict(enable=True, base_batch_size=512)
optim_wrapper = dict(
    type='egmim_mm.AutocastOptimWrapper',
    precision='auto',  # bfloat16 where the GPU or CPU is fast in it, else float32
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    constructor='egmim_mm.MergedGroups',  # few parameter groups, fused AdamW
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            'mask_token': dict(decay_mult=0.0),
            # Swin V2
            'cpb_mlp': dict(decay_mult=0.0),
            'logit_scale': dict(decay_mult=0.0),
            'q_bias': dict(decay_mult=0.0),
            'v_bias': dict(decay_mult=0.0)
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0.0, end=0.1),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=False, begin=0.1, end=1.0)
]
