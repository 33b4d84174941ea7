# all terms: edge weights, edge and HOG targets
_base_ = './base.py'

model = dict(mask_generator=dict(policy='random', cell_size=16))
