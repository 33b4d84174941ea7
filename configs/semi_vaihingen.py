_base_ = ['upernet_vaihingen.py', '_base_/second_stage.py']

model = _base_.second_stage.model
train_cfg = _base_.second_stage.train_cfg
auto_scale_lr = _base_.second_stage.auto_scale_lr
train_dataloader = dict(sampler=_base_.second_stage.sampler)
custom_hooks = _base_.second_stage.custom_hooks
label_presets = _base_.second_stage_label_presets
