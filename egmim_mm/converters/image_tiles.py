"""From one source image to its tiles."""
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from egmim_mm.records import write_whole
from egmim_mm.storage.mask_values import IGNORE

from .alignment import align_labels
from .archives import Member, file_digest
from .label_shapes import burn_shapes
from .rasters import Raster, as_image, as_label_values, decode, encode
from .sources import Recipe, Source
from .tiling import Window, tile_name, tile_windows

__all__ = ['convert_source', 'read_source']


@dataclass
class ReadSource:
    """A source image as its tiles will have it.

    Args:
        raster: Place and validity.
        image: (H, W, 1 or 3) uint8.
        labels: Folder of the mask tiles -> (H, W) uint8.
        stray: Value of a mask in no list -> pixels.
        near: Pixels whose colour was taken for a near one.
        overlapped: Pixels on which shapes of several classes lie.
        notes: What a user should know.
        sha256: Hash of each file that was not in a zip file.
    """

    raster: Raster
    image: np.ndarray
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    stray: dict[str, int] = field(default_factory=dict)
    near: int = 0
    overlapped: int = 0
    notes: list[str] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)


def read_source(source: Source, recipe: Recipe) -> ReadSource:
    """Decode an image and its masks.

    Raises:
        ConversionError: A file cannot be used, or image and mask do not belong together.
    """
    raster = decode(source.image, recipe.bands, recipe.nodata)
    image = as_image(raster, str(source.image), recipe.scale)
    if image.shape[-1] == 1 and not recipe.gray:
        image = np.repeat(image, 3, axis=-1)
    whole = ReadSource(raster, image)
    for folder, member in source.masks.items():
        whole.labels[folder] = _read_labels(member, source, recipe, whole)
    if source.shapes is not None:
        whole.labels['ann_dir'], whole.overlapped = burn_shapes(source.shapes, image.shape[:2])
        whole.labels['ann_dir'][~raster.valid] = IGNORE
    for member in (source.image, *source.masks.values()):
        if os.path.isdir(member.archive):
            whole.sha256[member.name] = file_digest(Path(member.archive, member.name))
    if recipe.min_valid is not None and not raster.valid.any():
        whole.notes.append('no data at all, by value or mask, so no tile was written')
    if recipe.pad and recipe.crop:
        whole.image = _padded(whole.image, recipe.crop, 0)
        whole.labels = {folder: _padded(label, recipe.crop, recipe.table.ignored)
                        for folder, label in whole.labels.items()}
        raster.valid = _padded(raster.valid, recipe.crop, False)
    return whole


def _read_labels(member: Member, source: Source, recipe: Recipe, whole: ReadSource) -> np.ndarray:
    """(H, W) uint8 on the grid of the image; adds to ``whole`` what was found."""
    values = recipe.table.values
    labels = decode(member, nodata='none' if recipe.min_valid is None else None)
    if values.mask_format == 'index' and labels.nodata in values.values:  # a class that is named is one
        whole.notes.append(f'masks with the no-data tag {labels.nodata:g}, which --classes names: it is a class')
        labels = decode(member, nodata='none')
    if recipe.min_valid is None:  # published pairs belong together pixel by pixel
        labels.transform = None
    labels, note = align_labels(labels, whole.raster, str(member), str(source.image))
    if note:
        whole.notes.append(note)
    raw = as_label_values(labels, values.mask_format == 'color', str(member))
    numbers, stray, near = recipe.table.recode(raw, str(member), None if labels.valid.all() else labels.valid)
    whole.near += near
    whole.stray.update(stray)
    if recipe.min_valid is not None:
        numbers[~whole.raster.valid] = recipe.table.ignored
    return numbers


def convert_source(source: Source, recipe: Recipe, out: Path) -> dict[str, Any]:
    """Write all tiles of one image.

    Returns:
        ``name``, ``split``, ``tiles`` (names), ``bare`` (names of tiles without mask, in ``img_dir/unlabeled``),
        ``empty`` and ``blank`` (tiles left out, without data and without label), ``suffixes`` (folder -> ending),
        ``class_pixels`` (mask folder -> pixels of each class), and ``stray``, ``near``, ``overlapped``, ``notes``,
        ``sha256`` of :class:`ReadSource`.

    Raises:
        ConversionError: See :func:`read_source`.
        OSError: A tile cannot be written.
    """
    whole = read_source(source, recipe)
    mask_suffix = recipe.mask_suffix or recipe.suffix
    suffixes = {**{folder: mask_suffix for folder in whole.labels}, 'img_dir': recipe.suffix}
    tag = _kept_tag(whole, recipe)
    counts = {folder: np.zeros(len(recipe.table.values.values), np.int64) for folder in whole.labels}
    tiles, bare, empty, blank = [], [], 0, 0
    for window in tile_windows(*whole.image.shape[:2], recipe.crop, recipe.stride):
        part = np.s_[window.top:window.top + window.height, window.left:window.left + window.width]
        valid = whole.raster.valid[part]
        if recipe.min_valid is not None and (not valid.any() or valid.mean() < recipe.min_valid):
            empty += 1
            continue
        name = source.name if recipe.crop is None else tile_name(source.name, window, recipe.naming)
        is_bare = source.shapes is not None and (whole.labels['ann_dir'][part] == IGNORE).all()
        if is_bare and source.split != 'train':
            blank += 1
            continue
        for folder, label in () if is_bare else whole.labels.items():
            counts[folder] += recipe.table.count(label[part])
            write_whole(out / folder / source.split / (name + mask_suffix),
                        encode(label[part], recipe.suffix, whole.raster, window))
        masked = recipe.min_valid is not None and tag is None and not valid.all()
        split = 'unlabeled' if is_bare else source.split
        write_whole(out / 'img_dir' / split / (name + recipe.suffix), _image_tile(
            whole, window, recipe.suffix, tag, valid if masked else None))
        (bare if is_bare else tiles).append(name)
    return dict(name=source.name, split=source.split, tiles=tiles, bare=bare, empty=empty, blank=blank,
                suffixes=suffixes, stray=whole.stray, near=whole.near, overlapped=whole.overlapped, notes=whole.notes,
                sha256=whole.sha256, class_pixels={folder: count.tolist() for folder, count in counts.items()})


def _image_tile(whole: ReadSource, window: Window, suffix: str, tag: float | None, valid: np.ndarray | None) -> bytes:
    part = whole.image[window.top:window.top + window.height, window.left:window.left + window.width]
    return encode(part, suffix, whole.raster, window, tag, valid)


def _kept_tag(whole: ReadSource, recipe: Recipe) -> float | None:
    """The no-data value that says in the tiles what is valid; None where it takes a mask, or where all is."""
    tag = recipe.nodata if isinstance(recipe.nodata, (int, float)) else whole.raster.nodata
    if recipe.min_valid is None or tag is None or recipe.scale or whole.raster.palette is not None:
        return None
    if not (0 <= tag <= 255 and tag == int(tag)):
        return None
    told = (whole.image != tag).any(axis=-1)
    return tag if (told == whole.raster.valid).all() else None


def _padded(array: np.ndarray, crop: int, value: int) -> np.ndarray:
    below, right = (max(0, crop - side) for side in array.shape[:2])
    return np.pad(array, ((0, below), (0, right), *[(0, 0)] * (array.ndim - 2)), constant_values=value)
