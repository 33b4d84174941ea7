# Only the visible quarter of a masked image is encoded: docs/egmim.md, "Encoding the visible cells alone"
_base_ = './egmim_swin-nano.py'

model = dict(backbone=dict(encode='visible'), mask_generator=dict(policy='edge_uniform', ratio=0.75))
