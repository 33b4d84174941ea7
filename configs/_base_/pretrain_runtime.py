_base_ = './default_runtime.py'

default_scope = 'mmpretrain'
# Where curves and pictures go. To TensorBoard as well: dict(type='TensorboardVisBackend') as a second backend
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
default_hooks = dict(
    edge_floor=dict(type='egmim_mm.EdgeFloorHook'),  # for model.edge_prior.floor='auto'
    mask_curriculum=dict(type='egmim_mm.MaskCurriculumHook'),
    # both look at fixed tiles at the start, every interval and at the end. Eleven looks at 24 tiles cost what training
    # on 130 to 260 images does: under 1 % of a run of 26,000 images or more
    reconstruction=dict(type='egmim_mm.ReconstructionHook', interval=1000, num_tiles=4),
    health=dict(type='egmim_mm.RepresentationHealthHook', interval=0.1, num_tiles=24))
