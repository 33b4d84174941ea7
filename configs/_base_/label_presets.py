# What --budget sets besides the tiles: tools/train.py CONFIG --budget 2 takes the first preset whose up_to is not
# below the number of labelled tiles; the last one has no up_to. Settings are merged into the config as a child config
# would be (_delete_=True replaces a dict, a list is replaced whole), then --cfg-options. One recipe for all starts.
# --preset NAME takes another, --preset none only chooses the tiles. A config that sets label_presets replaces them all.
label_presets = [
    dict(name='one to three tiles', up_to=3, settings=dict(train_cfg=dict(max_iters=4000))),
    dict(name='a few tiles', up_to=15, settings=dict(train_cfg=dict(max_iters=6000))),
    dict(name='tens of tiles', up_to=100, settings=dict(train_cfg=dict(max_iters=8000))),
    dict(
        name='hundreds of tiles',
        settings=dict(
            train_cfg=dict(max_iters=40000, val_interval=10000), model=dict(backbone=dict(drop_path_rate=0.3)))),
]

# For small backbones and crops of 128 px on CPUs, whose configs set the learning rates
cpu_label_presets = [
    dict(name='one to three tiles', up_to=3, settings=dict(train_cfg=dict(max_iters=100))),
    dict(name='a few tiles', up_to=15, settings=dict(train_cfg=dict(max_iters=300))),
    dict(name='tens of tiles', up_to=100, settings=dict(train_cfg=dict(max_iters=600))),
    dict(name='hundreds of tiles', settings=dict(train_cfg=dict(max_iters=1200))),
]

# For read-outs, which are fitted at once, whatever the number of tiles
readout_label_presets = [dict(name='read-out', settings=dict())]
