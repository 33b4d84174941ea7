_base_ = [
    '_base_/models/readout_swin-tiny.py',
    '_base_/datasets/dubai.py',
    '_base_/schedules/readout.py',
    '_base_/segmentation_runtime.py'
]

model = dict(decode_head=dict(num_classes=5))
label_presets = _base_.readout_label_presets  # of --budget
