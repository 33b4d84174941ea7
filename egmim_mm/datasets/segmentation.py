"""Labelled tiles with any classes, all from the config."""
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset

from egmim_mm.registry import DATASETS
from egmim_mm.storage.mask_values import IGNORE, MaskValues, parse_color
from egmim_mm.storage.tile_pairs import PARTS, add_full_masks, check_pair_size, find_pairs, part_of

from .class_counts import count_class_pixels
from .mixed_batches import WithUnlabelled
from .position_seed import SeededByPosition

__all__ = ['SegmentationTiles']


@DATASETS.register_module()
class SegmentationTiles(WithUnlabelled, SeededByPosition, BaseSegDataset):
    """Image/mask pairs. After ``egmim_mm.LoadTileMask`` pixels are 0..K-1, and 255 where ignored.

    A tile is named by its path relative to the image folder, without suffix; with ``*`` in
    ``data_prefix`` the folder it stands for comes first: 'tile_3/image_part_001'.

    Args:
        data_root: Folder of the data set.
        data_prefix: ``img_path`` and ``seg_map_path`` below ``data_root``. One path component may be ``*`` for any
            folder, the same in both. Leave ``seg_map_path`` out when there are no masks. ``full_seg_map_path``: a
            second set of masks with the same names and values that leaves no borders out, such as the full reference of
            ISPRS; boundary metrics read it. Empty: there is none.
        include: Shell patterns; a tile is used when its stem or its name matches one: ``include='image_part_00[1-6]'``,
            ``include='tile_[1-6]/*'``.
        ann_file: Split file with one tile name per line. Empty: every image.
        img_suffix: Ending(s) of image files.
        seg_map_suffix: Ending of mask files.
        source_pattern: Regular expression on the tile name whose first group is the source, for label budgets over
            whole source images, as in the configs of Vaihingen and iSAID. None: the folder ``*`` stands for.
        metainfo: ``classes`` and, for colour masks or pictures, ``palette`` ((R, G, B) or '#RRGGBB' per class).
        mask_format: ``index``: single-channel files with class indices. ``color``: RGB or palette files.
        mask_values: File value of each class, in class order. None: 0..K-1 for ``index``, the palette for ``color``.
        ignore_values: File values that become 255. In index masks 255 is always ignored unless ``mask_values`` lists
            it. Any other value is an error.
        dev_tiles: Shell patterns as in ``include``: tiles of the training part that models are developed on (settings,
            checkpoints), so that nothing is chosen on the test part.
        part: ``'dev'``: only these; ``'train'``: only the others; None: all. ``--dev`` of the tools sets both.
        test_mode: See MMEngine's ``BaseDataset``.
        check_first: For that many pairs sizes are compared at start, for the others when loaded.
        unlabeled: Config of a data set of further unlabelled images, or several, without ``pipeline``; ``type`` is
            ``egmim_mm.UnlabeledTiles`` unless given. ``egmim_mm.MixedLabelBudgetSampler`` draws from them.
        tags: File of the classes that unlabelled images show, see :func:`~.tile_tags.read_tags`: pseudo-labels of other
            classes do not count there. Images of ``unlabeled`` are named by their path below its ``data_root`` without
            suffix.
        reduce_zero_label: Not supported: ``mask_values`` says the same without ambiguity.
        pipeline: Transforms. Masks are loaded by ``egmim_mm.LoadTileMask``: mmseg's ``LoadAnnotations`` takes the
            values in the files for classes, so it is refused.
        **kwargs: Arguments of mmseg's ``BaseSegDataset``.

    Raises:
        FileNotFoundError: A missing folder, no images, an image without mask, a listed tile without image.
        TileReadError: An image and its mask differ in size, or a file is no image.
        ValueError: Missing classes, a number of ``mask_values`` that differs from the number of classes, values listed
            twice, ``reduce_zero_label=True``, ``LoadAnnotations`` in the pipeline, an unknown part, ``dev_tiles`` that
            match no tile or all.
    """

    def __init__(self, data_root: str, data_prefix: dict | None = None,
                 include: str | Sequence[str] | None = None, ann_file: str = '',
                 img_suffix: str | Sequence[str] = '.jpg', seg_map_suffix: str = '.png',
                 source_pattern: str | None = None, metainfo: dict | None = None,
                 mask_format: str = 'index', mask_values: Sequence | None = None, ignore_values: Sequence = (),
                 dev_tiles: str | Sequence[str] | None = None, part: str | None = None,
                 test_mode: bool = False, check_first: int = 5000,
                 reduce_zero_label: bool = False, pipeline: Sequence = (),
                 unlabeled: dict | Sequence[dict] | None = None, tags: str | None = None, **kwargs: Any) -> None:
        if reduce_zero_label:
            raise ValueError('reduce_zero_label=True is not supported: for masks with 0 = ignored and classes '
                             'from 1 on set mask_values=(1, 2, ...) and ignore_values=(0, )')
        if kwargs.pop('ignore_index', IGNORE) != IGNORE:
            raise ValueError(f'ignore_index must be {IGNORE}: list the file values to ignore in ignore_values')
        if _uses(pipeline, 'LoadAnnotations'):
            raise ValueError('the pipeline has LoadAnnotations, which knows neither mask_values nor ignore_values: use '
                             'egmim_mm.LoadTileMask')
        if part is not None and (part not in PARTS or not dev_tiles):
            raise ValueError(f'part={part!r}: give {" or ".join(map(repr, PARTS))}, and dev_tiles, patterns that say '
                             'which tiles are dev')
        metainfo = _with_rgb_palette(metainfo if metainfo is not None else self.METAINFO)
        self.mask_table = _mask_table(metainfo, mask_format, mask_values, ignore_values)
        self.include, self.check_first, self.source_pattern = include, check_first, source_pattern
        self.dev_tiles, self.part, self.unlabeled, self.tags = dev_tiles, part, unlabeled, tags
        if data_prefix is None:
            data_prefix = dict(img_path='images', seg_map_path='masks')
        # an empty prefix would become data_root
        data_prefix = {key: path for key, path in data_prefix.items() if path or key != 'full_seg_map_path'}
        super().__init__(ann_file=ann_file, img_suffix=img_suffix, seg_map_suffix=seg_map_suffix,
                         metainfo=metainfo, data_root=str(data_root), data_prefix=data_prefix,
                         pipeline=list(pipeline), test_mode=test_mode, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence | None = None) -> None:
        """None: ``mask_values`` maps the files to the classes, and a second mapping would spoil them."""

    def load_data_list(self) -> list[dict]:
        """Find the pairs and compare the first sizes."""
        names = None
        if self.ann_file:
            if not os.path.isfile(self.ann_file):
                raise FileNotFoundError(f'split file {self.ann_file} does not exist')
            with open(self.ann_file, encoding='utf-8') as file:
                names = [line.strip() for line in file if line.strip()]
        pairs = find_pairs(self.data_prefix['img_path'], self.data_prefix.get('seg_map_path'), self.img_suffix,
                           self.seg_map_suffix, self.include, names)
        if self.part is not None:
            pairs = part_of(pairs, self.dev_tiles, self.part)
        if 'full_seg_map_path' in self.data_prefix:
            pairs = add_full_masks(pairs, self.data_prefix['full_seg_map_path'], self.seg_map_suffix)
        for pair in pairs[:self.check_first]:
            if 'seg_map_path' in pair:
                check_pair_size(pair['img_path'], pair['seg_map_path'])
        return [dict(pair, label_map=None, reduce_zero_label=False, seg_fields=[]) for pair in pairs]

    def get_data_info(self, idx: int) -> dict:
        """Paths, name and source of tile ``idx`` with the value table of its mask (``mask_table``)."""
        tile = super().get_data_info(idx)
        tile['mask_table'] = self.mask_table
        return tile

    @property
    def tile_names(self) -> list[str]:
        """N unique names in the order of the data set."""
        return [self.get_data_info(i)['tile_name'] for i in range(len(self))]

    @property
    def sources(self) -> list[str] | None:
        """N sources, or None for a data set with neither ``source_pattern`` nor ``*``.

        Raises:
            ValueError: ``source_pattern`` does not match a tile name.
        """
        if self.source_pattern is not None:
            return [self._source(name) for name in self.tile_names]
        sources = [self.get_data_info(i)['source'] for i in range(len(self))]
        return None if any(source is None for source in sources) else sources

    def _source(self, name: str) -> str:
        match = re.match(self.source_pattern, name)
        if match is None or not match.groups():
            raise ValueError(f"source_pattern {self.source_pattern!r} finds no group in the tile name '{name}'")
        return match[1]

    def class_pixels(self) -> np.ndarray:
        """(N, K) int64: pixels of each class in each tile.

        Reads all masks the first time; later runs read a cache below ``data_root``.

        Raises:
            ValueError: The data set has no masks.
            TileReadError: A mask cannot be read or holds a value that is not in the class list.
        """
        tiles = [self.get_data_info(i) for i in range(len(self))]
        if any('seg_map_path' not in tile for tile in tiles):
            raise ValueError(f'{self.data_root} was set up without masks: data_prefix has no seg_map_path')
        return count_class_pixels([tile['tile_name'] for tile in tiles], [tile['seg_map_path'] for tile in tiles],
                                  self.mask_table, self.data_root)


def _uses(steps: Any, name: str) -> bool:
    """Whether a pipeline, also inside its transforms, has one of that name."""
    if isinstance(steps, dict):
        kind = steps.get('type')
        kind = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
        return kind.rsplit('.', 1)[-1] == name or _uses(list(steps.values()), name)
    if isinstance(steps, (list, tuple)):
        return any(_uses(step, name) for step in steps)
    return type(steps).__name__ == name


def _with_rgb_palette(metainfo: dict) -> dict:
    """Check the classes and turn '#RRGGBB' in the palette into (R, G, B), as mmseg draws it."""
    metainfo = dict(metainfo)
    classes = metainfo.get('classes')
    if not classes or isinstance(classes, str):
        raise ValueError("metainfo needs the class names: metainfo=dict(classes=('road', ...), palette=[...])")
    metainfo['classes'] = tuple(classes)
    if metainfo.get('palette'):
        packed = [parse_color(color) for color in metainfo['palette']]
        if len(packed) != len(classes):
            raise ValueError(f'{len(packed)} colours in the palette for {len(classes)} classes')
        metainfo['palette'] = [[c >> 16, c >> 8 & 255, c & 255] for c in packed]
    return metainfo


def _mask_table(metainfo: dict, mask_format: str, mask_values: Sequence | None,
                ignore_values: Sequence) -> MaskValues:
    count = len(metainfo['classes'])
    if mask_values is None:
        mask_values = metainfo.get('palette') if mask_format == 'color' else range(count)
        if not mask_values:
            raise ValueError("mask_format='color' needs mask_values or a palette")
    if len(mask_values) != count:
        raise ValueError(f'{len(mask_values)} mask_values for {count} classes: give one file value per class')
    return MaskValues(mask_format, tuple(mask_values), tuple(ignore_values))
