# a target at every stage: oriented edges at stages 1 and 2, pixels at stages 3 and 4
_base_ = '../egmim_dapt.py'

model = dict(terms=[
    dict(type='egmim_mm.PixelTerm', gamma=1.0),
    dict(type='egmim_mm.StageEdgesTerm'),
    dict(type='egmim_mm.StagePixelsTerm')
])
