# upernet.py with weak labels: 100 clicked pixels in each labelled image instead of its mask; another number:
# --cfg-options train_dataloader.dataset.pipeline.2.points=500. The images that are evaluated keep their masks.
_base_ = './upernet.py'

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='egmim_mm.SparseLabels', points=100, seed=0, radius=0),
    *_base_.train_pipeline[2:]
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
