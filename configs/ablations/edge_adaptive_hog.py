# all terms: edge weights, edge and HOG targets: the project's default
_base_ = './base.py'

model = dict(mask_generator=dict(policy='edge_adaptive'))
