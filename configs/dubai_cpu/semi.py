_base_ = ['upernet.py', '../_base_/second_stage.py']

model = dict(_base_.second_stage.model, momentum=0.99)  # a few hundred iterations
train_cfg = dict(global_batch=16, max_iters=600, val_interval=10000)
auto_scale_lr = _base_.second_stage.auto_scale_lr
train_dataloader = dict(sampler=_base_.second_stage.sampler)
custom_hooks = _base_.second_stage.custom_hooks
label_presets = _base_.second_stage_label_presets
