# An iteration is a step over global_batch images, whatever number of processes shares them; a process computes at most
# max_batch_per_process at once (for its memory) and sums up the gradients. Schedules in shares of max_iters.
train_cfg = dict(type='egmim_mm.GlobalBatchLoop', global_batch=512, max_batch_per_process=64, max_iters=10000)
# lr is for this many images, and follows global_batch in proportion; it is for a start from a checkpoint
auto_scale_lr = dict(enable=True, base_batch_size=512)
lr_factor_from_scratch = 2.0
# --backbone of a pretraining run brings its pixel head, too: the gradients of a random one disturb pretrained features
carry_heads = True
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
