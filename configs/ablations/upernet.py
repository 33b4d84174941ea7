# Fine-tuning of the backbones pretrained in this folder, on two labelled images of Dubai
_base_ = '../dubai_cpu/upernet.py'

model = dict(backbone=dict(arch=dict(embed_dims=32, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])))
# validated once, at the end, and the study reads boundaries from it
val_evaluator = [dict(type='egmim_mm.SegmentationMetric'), dict(type='egmim_mm.BoundaryMetric')]
