_base_ = './base.py'

model = dict(edge_prior=dict(_delete_=True, type='egmim_mm.EdgePrior', operator='sobel', floor='auto'))
