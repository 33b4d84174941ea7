_base_ = ['./default_runtime.py', './label_presets.py']

default_scope = 'mmseg'
visualizer = dict(type='mmseg.SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
