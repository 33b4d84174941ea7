"""Any folder of images, with masks, with labels drawn in a GIS, or without: any raster and vector format."""
import logging
import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from egmim_mm.records import write_whole
from egmim_mm.storage.image_files import matches_any
from egmim_mm.storage.mask_values import MaskValues
from egmim_mm.storage.rasters import RAW_SUFFIXES, chosen_bands, find_rasters, is_placed, raster_suffixes
from egmim_mm.storage.tile_pairs import find_pairs

from .archives import ConversionError, Member
from .conversion import convert
from .dataset_config import labelled_config, unlabelled_config
from .label_shapes import RADIUS, with_shapes
from .label_table import LabelTable
from .rasters import opened
from .sources import Recipe, Source, pair_sources
from .vector_labels import VectorLayer, digest_of, read_vectors

__all__ = ['convert_folder', 'parse_classes']


def parse_classes(classes: Sequence[str], ignore: Sequence[str] = ()) -> tuple[list[str], MaskValues]:
    """Classes as they are written on the command line.

    Args:
        classes: All 'NAME=#RRGGBB', all 'NAME=NUMBER', or all 'NAME' (numbers 0, 1, 2, ...).
        ignore: Colours or numbers that mean 'no label'.

    Returns:
        Names and value table.

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


def convert_folder(folder: str, out: str, classes: Sequence[str] = (), ignore: Sequence[str] = (),
                   images: str = 'images', masks: str = 'masks', image_suffix: Sequence[str] | None = None,
                   mask_suffix: Sequence[str] | None = None, val: Sequence[str] = (), unlabeled: bool = False,
                   max_stray: float = 0.0, bands: Sequence[int] | None = None, scale: tuple[float, float] | None = None,
                   crop: int | None = 512, stride: int | None = 512, pair: tuple[str, str] | None = None,
                   tolerance: float = 0.0, nodata: float | str | None = None, min_valid: float = 0.0,
                   labels: Sequence[str] = (), class_field: str | None = None, radius: float | None = None,
                   **options: Any) -> dict[str, Any]:
    """Convert a folder of images and masks, of images and vector labels, or of images alone, for pretraining.

    Args:
        folder: What the user has.
        out: Folder of the tiles: ``img_dir`` and ``ann_dir``, each with ``train`` and ``val``; masks 0..K-1 and 255.
            Tiles are PNG, or GeoTIFF with transform and CRS if an image has a transform. ``out/dataset_config.py`` is a
            data set config that fits them.
        classes, ignore: See :func:`parse_classes`; of ``labels`` :func:`.vector_labels.read_vectors`. No classes and no
            labels: images alone.
        images, masks: Folders below ``folder``; one part of the path may be ``*``, any folder.
        image_suffix, mask_suffix: Endings of files; None: every format that GDAL opens.
        val: Shell patterns; an image whose name matches one is for validation, the others for training.
        unlabeled: Write images without mask to ``img_dir/unlabeled``. Otherwise they are an error if there are classes,
            and masks are one if there are none.
        max_stray: Largest share of a mask's pixels with values in no list that become 255.
        bands: Bands of the files to keep, from 1 on, in this order; None: all but alpha.
        scale: Values that become 0 and 255, for images of one type of samples; None: they are 8-bit.
        crop, stride: Tiles, px; ``crop`` None: whole images.
        pair: Regular expressions for the names (without suffix) of images and of masks; those whose first groups are
            equal belong together. Files that match neither are left out. None: pairs have the same name.
        tolerance: See :class:`.label_table.LabelTable`.
        nodata: See :func:`egmim_mm.storage.rasters.valid_pixels`.
        min_valid: Share of a tile that must hold data, in [0, 1]; a tile without any is never written.
        labels: Vector files in place of masks. Training tiles without a label go to ``img_dir/unlabeled``, others of
            them are not written.
        class_field: See :func:`.vector_labels.read_vectors`.
        radius: Of points and lines, px; None: :data:`.label_shapes.RADIUS`.
        **options: ``workers``, ``overwrite`` and ``code`` of :func:`.conversion.convert`.

    Returns:
        The manifest.

    Raises:
        ConversionError: An image without mask, a mask without image, a file that cannot be used, bad options; see
            :func:`.vector_labels.read_vectors` and :func:`.label_shapes.with_shapes`.
        FileNotFoundError: No such folder, or nothing in it.
        ValueError: Two images of the same name.
    """
    if os.path.isdir(out) and os.path.samefile(folder, out):
        raise ConversionError(f'--out {out} is the folder of the originals; choose another one')
    if scale is not None and not scale[0] < scale[1]:
        raise ConversionError(f'--scale {scale[0]:g} {scale[1]:g}: the first value must be below the second')
    if not 0 <= min_valid <= 1:
        raise ConversionError(f'--min-valid {min_valid:g} must be in [0, 1]')
    about_masks = dict(pair=pair, tolerance=tolerance, max_stray=max_stray)
    if labels:
        _refuse(dict(about_masks, mask_suffix=mask_suffix, unlabeled=unlabeled), 'about masks, which --labels replaces')
    else:
        _refuse(dict(class_field=class_field, radius=radius is not None), 'about --labels, which is not given')
    if not classes and not labels:
        _refuse(dict(val=val, ignore=ignore, **about_masks), 'for images with masks, of which --classes says what they '
                'hold')
    named, values, layers = _classes(classes, ignore, labels, class_field)
    if tolerance and values.mask_format != 'color':
        raise ConversionError(f'--tolerance {tolerance:g} is a distance of colours; give the classes as NAME=#RRGGBB')
    pictures = _members(folder, images, image_suffix)
    drawn = {} if labels else _masks(folder, masks, mask_suffix, classes, unlabeled)
    if pair is not None and drawn:
        pictures, drawn = _paired(pictures, drawn, *pair)
    alone = sorted(pictures.keys() - drawn.keys()) if unlabeled or not (drawn or labels) else ()
    bare = {name: pictures.pop(name) for name in alone}
    sources = pair_sources(pictures, {} if labels else dict(ann_dir=drawn), lambda name: _split(name, val))
    sources += pair_sources(bare, {}, lambda name: 'unlabeled')
    if val and not any(source.split == 'val' for source in sources):
        raise ConversionError(f'--val {" ".join(val)} matches none of the {len(sources)} images, for example '
                              f"'{sources[0].name}'")
    placed = _check_headers(sources, bands, scale)
    radius = RADIUS if radius is None else radius
    if labels:
        sources = with_shapes(sources, layers, radius)
    recipe = Recipe(LabelTable(values, max_stray=max_stray, tolerance=tolerance), crop, stride, gray=True,
                    suffix='.tif' if placed else '.png', bands=tuple(bands) if bands else None, scale=scale,
                    nodata=nodata, min_valid=min_valid)
    settings = dict(dataset='folder', classes=list(named), values=list(named.values()),
                    ignore=[values.show(v) for v in values.ignore], val=list(val), pair=pair, first_class=0,
                    ignored=255, labels=dict(digest=digest_of(layers), radius=radius) if labels else None)
    manifest = convert(sources, recipe, out, settings, **options)
    write_whole(Path(out, 'dataset_config.py'),
                labelled_config(manifest, out, values) if drawn or labels else unlabelled_config(out))
    return manifest


def _classes(classes: Sequence[str], ignore: Sequence[str], labels: Sequence[str],
             field: str | None) -> tuple[dict[str, str], MaskValues, list[VectorLayer]]:
    """Name of each class -> its value as people write it; the values in masks; what was drawn, if it is no masks."""
    if labels:
        named, layers = read_vectors(labels, field, classes, ignore)
        return named, MaskValues('index', tuple(range(len(named)))), layers
    if not classes:
        return {}, MaskValues('index', (0, )), []  # no mask is read
    names, values = parse_classes(classes, ignore)
    return dict(zip(names, map(values.show, values.values))), values, []


def _refuse(given: Mapping[str, Any], why: str) -> None:
    """Raise a ConversionError if one of these options is given."""
    names = [f'--{name.replace("_", "-")}' for name, value in given.items() if value]
    if names:
        raise ConversionError(f'{", ".join(names)}: {why}')


def _masks(folder: str, below: str, suffixes: Sequence[str] | None, classes: Sequence[str],
           unlabeled: bool) -> dict[str, Member]:
    """The masks by name; none if the images are meant to be converted alone."""
    if unlabeled and not classes:
        return {}
    try:
        masks = _members(folder, below, suffixes)
    except FileNotFoundError as error:
        if unlabeled or not classes:
            return {}
        raise ConversionError(f'no masks: {error}. For images alone leave --classes out') from None
    if not classes:
        raise ConversionError(f'{os.path.join(folder, below)} holds {len(masks)} masks: say with --classes what they '
                              'hold, or convert the images alone with --unlabeled')
    return masks


def _members(folder: str, below: str, suffixes: Sequence[str] | None) -> dict[str, Member]:
    """Files by name; what lies beside them and is no raster is listed in the log."""
    pairs = find_pairs(os.path.join(folder, below), None, suffixes or raster_suffixes() + RAW_SUFFIXES, '')
    if suffixes is None:
        others = [name for name in find_rasters(folder)[1]
                  if fnmatchcase(name, f'{below}/*') and not name.lower().endswith(RAW_SUFFIXES)]
        if others:
            print_log(f'{len(others)} files in {os.path.join(folder, below)} are no rasters and are left out: '
                      f'{", ".join(others[:5])}', logger='current', level=logging.WARNING)
    return {pair['tile_name']: Member(str(folder), Path(pair['img_path']).relative_to(folder).as_posix(),
                                      os.path.getsize(pair['img_path'])) for pair in pairs}


def _paired(images: Mapping[str, Member], masks: Mapping[str, Member], image_pattern: str,
            mask_pattern: str) -> tuple[dict[str, Member], dict[str, Member]]:
    """Those that match the patterns, both by the name of the image."""
    image_keys, mask_keys = (_keys(named, pattern) for named, pattern in ((images, image_pattern),
                                                                          (masks, mask_pattern)))
    return ({name: images[name] for name in image_keys.values()},
            {image_keys.get(key, name): masks[name] for key, name in mask_keys.items()})


def _keys(members: Mapping[str, Member], pattern: str) -> dict[str, str]:
    """{what the first group of the pattern finds: name}."""
    try:
        matches = {name: re.search(pattern, name) for name in members}
        named = [(match[1], name) for name, match in matches.items() if match]
    except (re.error, IndexError) as error:
        raise ConversionError(f'--pair {pattern}: not a regular expression with a group, such as "img_(.+)" '
                              f'({error})') from None
    if not named:
        raise ConversionError(f"--pair {pattern} matches none of the {len(members)} files, for example "
                              f"'{next(iter(members))}'")
    keys: dict[str, str] = {}
    for key, name in named:
        if keys.setdefault(key, name) != name:
            raise ConversionError(f"--pair {pattern} finds '{key}' in two files: {members[keys[key]]} and "
                                  f'{members[name]}')
    return keys


def _check_headers(sources: Sequence[Source], bands: Sequence[int] | None, scale: tuple[float, float] | None) -> bool:
    """Whether an image has a place on the ground; raises ConversionError for what all files together cannot have."""
    placed, first = False, None
    for source in sources:
        with opened(source.image) as raster:
            placed |= is_placed(raster)
            dtype = raster.dtypes[chosen_bands(raster, bands)[0] - 1]
        first = first or (source.image, dtype)
        if scale is not None and dtype != first[1]:
            raise ConversionError(f'{source.image} has {dtype} samples, {first[0]} {first[1]}: one --scale is for one '
                                  'type; convert them apart, each with its own')
    return placed


def _split(name: str, val: Sequence[str]) -> str:
    return 'val' if val and matches_any(val, name, name.rsplit('/', 1)[-1]) else 'train'
