# Few labels: linear classifiers on a frozen backbone, one on its four stages and one on hand-made features of the
# half-size image, whose probabilities are averaged; egmim_mm.ReadoutLoop fits them
_base_ = './upernet_swin-tiny.py'

model = dict(
    pixel_features=dict(scale=0.5),  # filters reach up to 128 px
    backbone=dict(drop_path_rate=0.0),
    decode_head=dict(
        _delete_=True,
        type='egmim_mm.ReadoutHead',
        in_index=[0, 1, 2, 3, 4],  # the last map are the pixel features
        groups=[[0, 1, 2, 3], [4]],
        num_classes=5),
    auxiliary_head=None,
    # large windows: what is near counts, and borders cost; whole tiles up to 1,024 px
    test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)))
