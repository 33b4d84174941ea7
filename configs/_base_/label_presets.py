# What --budget sets besides the tiles: tools/train.py CONFIG --budget 2 takes the first preset whose up_to is not
# below the number of labelled tiles; the last one has no up_to. Settings are merged into the config as a child config
# would be (_delete_=True replaces a dict, a list is replaced whole), then --cfg-options. One recipe for all starts.
# --preset NAME takes another, --preset none only chooses the tiles, --select cv compares a preset with its
# alternatives on the labelled tiles. A config that sets label_presets replaces them all.
# One to fifteen tiles: two linear classifiers, one on the frozen backbone and one on hand-made features; why, and how
# much it is worth: docs/few_labels.md. From sixteen tiles on: fine-tuning.

# The read-out configs (../readout_dubai.py) take the settings of the first preset
__model = dict(
    pixel_features=dict(scale=0.5),  # filters reach up to 128 px
    backbone=dict(drop_path_rate=0.0),
    auxiliary_head=None,
    # large windows: what is near counts, and borders cost; whole tiles up to 1,024 px
    test_cfg=dict(_delete_=True, mode='slide', crop_size=(1024, 1024), stride=(768, 768)))
# the last map are the pixel features
__both = dict(_delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4], groups=[[0, 1, 2, 3], [4]])
__loop = dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=20_000)  # of 4 x 4 px, as many of each class
__readout_settings = dict(
    model=dict(**__model, decode_head=__both),
    train_cfg=dict(**__loop, classifiers=[dict(type='discriminant', shrinkage=0.1), dict(type='logistic', l2=1e-3)]))
__alternatives = [
    dict(
        name='read-out, more shrinkage',
        settings=dict(
            model=dict(**__model, decode_head=__both),
            train_cfg=dict(
                **__loop, classifiers=[dict(type='discriminant', shrinkage=0.5), dict(type='logistic', l2=1e-2)]))),
    # for tiles that say little about the backbone, or a backbone that knows little about the tiles
    dict(
        name='read-out, hand-made features',
        settings=dict(
            model=dict(**__model, decode_head=dict(__both, in_index=[4], groups=[[4]])),
            train_cfg=dict(**__loop, classifiers=[dict(type='logistic', l2=1e-3)]))),
    dict(
        name='read-out, backbone',
        settings=dict(
            model=dict(dict(__model, pixel_features=None), decode_head=dict(
                __both, in_index=[0, 1, 2, 3], groups=[[0, 1, 2, 3]])),
            train_cfg=dict(**__loop, classifiers=[dict(type='discriminant', shrinkage=0.1)]))),
]
__frozen = dict(
    custom_hooks=[dict(type='egmim_mm.FrozenBackboneHook'), dict(type='egmim_mm.ClassWeightsHook', power=0.5)],
    find_unused_parameters=True)  # for several processes
__readout = dict(name='read-out', settings=__readout_settings)

label_presets = [
    dict(
        **__readout,
        up_to=15,
        alternatives=[
            *__alternatives,
            # the heads alone learn, or everything; --select cv may stop them earlier
            dict(name='frozen fine-tuning', settings=dict(train_cfg=dict(max_iters=1000), **__frozen)),
            dict(name='fine-tuning', settings=dict(train_cfg=dict(max_iters=1000)))
        ]),
    dict(name='tens of tiles', up_to=100, alternatives=[__readout], settings=dict(train_cfg=dict(max_iters=8000))),
    dict(
        name='hundreds of tiles',
        settings=dict(
            train_cfg=dict(max_iters=40000, val_interval=10000), model=dict(backbone=dict(drop_path_rate=0.3)))),
]

# For small backbones and crops of 128 px on CPUs, whose configs set the learning rates
cpu_label_presets = [
    dict(
        **__readout,
        up_to=15,
        alternatives=[
            *__alternatives,
            dict(name='frozen fine-tuning', settings=dict(train_cfg=dict(max_iters=100), **__frozen)),
            dict(name='fine-tuning', settings=dict())  # as long as the config says
        ]),
    dict(name='tens of tiles', up_to=100, alternatives=[__readout], settings=dict(train_cfg=dict(max_iters=600))),
    dict(name='hundreds of tiles', settings=dict(train_cfg=dict(max_iters=1200))),
]

# For read-outs, which are fitted at once, whatever the number of tiles
readout_label_presets = [dict(name='read-out', alternatives=__alternatives, settings=dict())]

# For the second stage: below sixteen tiles the read-out labels in the place of the teacher, docs/second_stage.md
second_stage_label_presets = [
    dict(
        name='guided second stage',
        up_to=15,
        settings=dict(model=dict(threshold=0.5, guide=dict(readout=__readout_settings)))),
    dict(name='second stage', settings=dict())
]
