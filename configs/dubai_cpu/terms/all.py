# every term of this folder
_base_ = '../egmim_dapt.py'

model = dict(terms=[
    dict(type='egmim_mm.PixelTerm', gamma=1.0),
    dict(type='egmim_mm.StageEdgesTerm'),
    dict(type='egmim_mm.StagePixelsTerm'),
    dict(type='egmim_mm.EdgeAffinityTerm'),
    dict(type='egmim_mm.TeacherTerm', teacher='ema'),
    dict(type='egmim_mm.VarianceCovarianceTerm')
])
