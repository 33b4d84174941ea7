# variance and covariance of stage 4
_base_ = '../egmim_dapt.py'

model = dict(terms=[*_base_.model.terms, dict(type='egmim_mm.VarianceCovarianceTerm')])
