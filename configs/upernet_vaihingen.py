_base_ = [
    '_base_/models/upernet_swin-tiny.py',
    '_base_/datasets/vaihingen.py',
    '_base_/schedules/finetune.py',
    '_base_/segmentation_runtime.py'
]

model = dict(decode_head=dict(num_classes=5), auxiliary_head=dict(num_classes=5))
