# Fits the classifiers of egmim_mm.ReadoutHead once, to class-balanced cells of 4 x 4 px of the labelled tiles
train_cfg = dict(
    type='egmim_mm.ReadoutLoop',
    cells=20_000,
    # of the stages, which are many and alike, and of the hand-made features
    classifiers=[dict(type='discriminant', shrinkage=0.1), dict(type='logistic', l2=1e-3)])
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# No gradient is made: of the optimizer only the precision counts
optim_wrapper = dict(
    type='egmim_mm.AutocastOptimWrapper',
    precision='auto',  # bfloat16 where the GPU or CPU is fast in it, else float32
    optimizer=dict(type='SGD', lr=0.0))
