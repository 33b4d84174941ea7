"""Any folder of images and masks: colours or numbers, palette files, GeoTIFF."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egmim_mm.records.whole_files import write_whole
from egmim_mm.storage.image_files import SUFFIXES, matches_any
from egmim_mm.storage.mask_values import MaskValues
from egmim_mm.storage.tile_pairs import find_pairs

from .archives import ConversionError, Member
from .conversion import Recipe, convert, pair_sources
from .label_table import LabelTable
from .rasters import is_georeferenced

__all__ = ['convert_folder', 'parse_classes']


def parse_classes(classes: Sequence[str], ignore: Sequence[str] = ()) -> tuple[list[str], MaskValues]:
    """Classes as they are written on the command line.

    Args:
        classes: All 'NAME=#RRGGBB', all 'NAME=NUMBER', or all 'NAME' (numbers 0, 1, 2, ...).
        ignore: Colours or numbers that mean 'no label'.

    Returns:
        tuple: Names and value table.

    Raises:
        ConversionError: A mixture of them, a name twice, or a bad value.
    """
    names, _, values = zip(*(text.partition('=') for text in classes))
    if len(set(names)) != len(names) or not all(names):
        raise ConversionError(f'--classes {" ".join(classes)}: every class needs a name of its own')
    color = values[0].startswith('#')
    if not any(values):
        values = tuple(str(number) for number in range(len(values)))
    try:
        table = (tuple(values), tuple(ignore)) if color else (tuple(map(int, values)), tuple(map(int, ignore)))
        return list(names), MaskValues('color' if color else 'index', *table)
    except ValueError as error:
        raise ConversionError(f'--classes {" ".join(classes)} --ignore {" ".join(ignore)}: give NAME=#RRGGBB for all, '
                              f'NAME=NUMBER for all or NAME for all ({error})') from None


def convert_folder(folder: str, out: str, classes: Sequence[str], ignore: Sequence[str] = (), images: str = 'images',
                   masks: str = 'masks', image_suffix: Sequence[str] = SUFFIXES, mask_suffix: Sequence[str] = SUFFIXES,
                   val: Sequence[str] = (), unlabeled: bool = False, max_stray: float = 0.0,
                   bands: Sequence[int] | None = None, scale: tuple[float, float] | None = None,
                   crop: int | None = 512, stride: int | None = 512, **options: Any) -> dict:
    """Convert a folder of images and masks.

    Args:
        folder: What the user has.
        out: Folder of the tiles: ``img_dir`` and ``ann_dir``, each with ``train`` and ``val``; masks 0..K-1 and 255.
            Tiles are PNG, or GeoTIFF with transform and CRS if an image has a transform. ``out/dataset_config.py`` is
            a data set config that fits them.
        classes, ignore: See :func:`parse_classes`.
        images, masks: Folders below ``folder``; one part of the path may be ``*``, any folder.
        image_suffix, mask_suffix: Endings of files.
        val: Shell patterns; an image whose name matches one is for validation, the others for training.
        unlabeled: Write images without mask to ``img_dir/unlabeled``. Otherwise they are an error.
        max_stray: Largest share of a mask's pixels with values in no list that become 255.
        bands, scale: See :func:`.rasters.as_image`.
        crop, stride: Tiles, px; ``crop`` None: whole images.
        **options: ``workers``, ``overwrite`` and ``code`` of :func:`.conversion.convert`.

    Returns:
        dict: The manifest.

    Raises:
        ConversionError: An image without mask, a mask without image, a file that cannot be used, bad options.
        FileNotFoundError: No such folder, or nothing in it.
        ValueError: Two images of the same name.
    """
    if os.path.isdir(out) and os.path.samefile(folder, out):
        raise ConversionError(f'--out {out} is the folder of the originals; choose another one')
    if scale is not None and not scale[0] < scale[1]:
        raise ConversionError(f'--scale {scale[0]:g} {scale[1]:g}: the first value must be below the second')
    names, values = parse_classes(classes, ignore)
    found = _members(folder, images, image_suffix)
    labels = _members(folder, masks, mask_suffix)
    bare = {name: found.pop(name) for name in sorted(found.keys() - labels.keys())} if unlabeled else {}
    sources = pair_sources(found, dict(ann_dir=labels), lambda name: _split(name, val))
    sources += pair_sources(bare, {}, lambda name: 'unlabeled')
    if val and not any(source.split == 'val' for source in sources):
        raise ConversionError(f'--val {" ".join(val)} matches none of the {len(sources)} images, for example '
                              f"'{sources[0].name}'")
    georeferenced = any(is_georeferenced(str(source.image)) for source in sources)
    recipe = Recipe(LabelTable(values, max_stray=max_stray), crop, stride, gray=True,
                    suffix='.tif' if georeferenced else '.png', bands=tuple(bands) if bands else None, scale=scale)
    shown = [values.show(value) for value in values.values]
    facts = dict(dataset='folder', classes=names, values=shown, ignore=[values.show(v) for v in values.ignore],
                 val=list(val), first_class=0, ignored=255)
    manifest = convert(sources, recipe, out, facts, **options)
    write_whole(Path(out, 'dataset_config.py'), _config_text(manifest, out, values).encode())
    return manifest


def _members(folder: str, below: str, suffixes: Sequence[str]) -> dict[str, Member]:
    pairs = find_pairs(os.path.join(folder, below), None, suffixes, '')
    return {pair['tile_name']: Member(str(folder), Path(pair['img_path']).relative_to(folder).as_posix(),
                                      os.path.getsize(pair['img_path'])) for pair in pairs}


def _split(name: str, val: Sequence[str]) -> str:
    return 'val' if val and matches_any(val, name, name.rsplit('/', 1)[-1]) else 'train'


def _config_text(manifest: dict, out: str, values: MaskValues) -> str:
    """A data set config: copy it to configs/_base_/datasets."""
    settings = manifest['settings']
    colors = values.values if values.mask_format == 'color' else [_distinct(k) for k in range(len(values.values))]
    palette = ', '.join(f"'#{color:06X}'" for color in colors)
    test = 'val' if 'val' in manifest['splits'] else 'train'
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
train_dataloader = dict(dataset=dict(**tiles, data_prefix=train))
val_dataloader = dict(dataset=dict(**tiles, data_prefix=test))
test_dataloader = val_dataloader
"""


def _distinct(number: int) -> int:
    """Packed RGB of class ``number``: steps by bits, so that the first 64 differ clearly."""
    channels = [sum((number + 1 >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)]
    return channels[0] << 16 | channels[1] << 8 | channels[2]
