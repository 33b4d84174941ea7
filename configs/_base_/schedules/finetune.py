# For 1 to 3 labelled tiles; --budget sets max_iters and more for so many (label_presets.py).
# An iteration is a step over global_batch images, whatever number of processes shares them
train_cfg = dict(type='egmim_mm.GlobalBatchLoop', global_batch=8, max_iters=4000, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=True, base_batch_size=8)  # lr is for this many images, and follows global_batch
optim_wrapper = dict(
    type='egmim_mm.AutocastOptimWrapper',
    precision='auto',  # bfloat16 where the GPU or CPU is fast in it, else float32
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    constructor='egmim_mm.MergedGroups',  # few parameter groups, fused AdamW
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            # Swin V2
            'cpb_mlp': dict(decay_mult=0.0),
            'logit_scale': dict(decay_mult=0.0),
            'q_bias': dict(decay_mult=0.0),
            'v_bias': dict(decay_mult=0.0)
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0.0, end=0.05),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0.05, end=1.0)
]
