"""The data set config that is written beside converted tiles."""
import os
from collections.abc import Mapping
from typing import Any

from egmim_mm.storage.mask_values import MaskValues

__all__ = ['labelled_config', 'unlabelled_config']


def labelled_config(manifest: Mapping[str, Any], out: str, values: MaskValues) -> str:
    """A data set config: copy it to configs/_base_/datasets."""
    settings = manifest['settings']
    colors = values.values if values.mask_format == 'color' else [_distinct(k) for k in range(len(values.values))]
    palette = ', '.join(f"'#{color:06X}'" for color in colors)
    splits = manifest['splits']
    test = 'val' if 'val' in splits else 'train'
    bare = f',\n    unlabeled=dict(data_root={_bare_folder(out)!r})' if 'unlabeled' in splits else ''
    return f"""# Written by the folder converter; copy it to configs/_base_/datasets
_base_ = './segmentation.py'

metainfo = dict(
    classes={tuple(settings['classes'])!r},
    palette=[{palette}])
tiles = dict(
    data_root={os.path.normpath(out)!r}, metainfo=metainfo, img_suffix={settings['suffix']!r},
    seg_map_suffix={settings['suffix']!r})
train = dict(img_path='img_dir/train', seg_map_path='ann_dir/train')
test = dict(img_path='img_dir/{test}', seg_map_path='ann_dir/{test}')
# every labelled tile; budget=0.05 takes five per cent of them
train_dataloader = dict(sampler=dict(budget=1.0), dataset=dict(**tiles, data_prefix=train{bare}))
val_dataloader = dict(dataset=dict(**tiles, data_prefix=test))
test_dataloader = val_dataloader
"""


def unlabelled_config(out: str) -> str:
    """A data set config of images for pretraining."""
    return f"""# Written by the folder converter; copy it to configs/_base_/datasets
_base_ = './unlabeled.py'

train_dataloader = dict(dataset=dict(data_root={_bare_folder(out)!r}))
"""


def _distinct(number: int) -> int:
    """Packed RGB of class ``number``: steps by bits, so that the first 64 differ clearly."""
    channels = [sum((number + 1 >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)]
    return channels[0] << 16 | channels[1] << 8 | channels[2]


def _bare_folder(out: str) -> str:
    return os.path.join(os.path.normpath(out), 'img_dir/unlabeled')
