# Few labels on a CPU: linear classifiers on the frozen backbone of dubai_cpu/egmim_dapt.py and on pixel features
_base_ = [
    '../_base_/models/readout_swin-nano.py', '../_base_/datasets/dubai.py', '../_base_/schedules/readout.py',
    '../_base_/segmentation_runtime.py'
]

train_dataloader = dict(num_workers=0, persistent_workers=False, sampler=dict(budget=2))  # class-covering choice
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
label_presets = _base_.readout_label_presets  # of --budget
