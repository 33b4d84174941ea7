# The second stage: unlabelled tiles train too. A config takes the parts of this dict for its own, see ../semi_dubai.py.
# Unlabelled are the training tiles that the label budget leaves, and what train_dataloader.dataset.unlabeled names.
second_stage = dict(
    model=dict(
        type='egmim_mm.MeanTeacherSegmentor',
        student='egmim_mm.FittedEncoderDecoder',
        threshold=0.95,
        weight=1.0,
        ramp_up=0.1,
        momentum=0.996),
    # as many labelled images in a step as in fine-tuning, and as many unlabelled ones; the learning rate stays
    train_cfg=dict(global_batch=16, max_iters=20000, val_interval=5000),
    auto_scale_lr=dict(base_batch_size=16),
    sampler=dict(type='egmim_mm.MixedLabelBudgetSampler', labelled_share=0.5),
    custom_hooks=[dict(type='egmim_mm.MeanTeacherHook')])
