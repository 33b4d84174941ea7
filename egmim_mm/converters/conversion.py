"""The conversion itself: one job for each source image, in parallel, resumable, tiles whole or not at all."""
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from egmim_mm.records.whole_files import write_whole

from .archives import ConversionError, Member, fingerprint, source_facts
from .label_table import LabelTable
from .manifest import append_result, claim, finish
from .rasters import as_image, as_label_values, decode, encode
from .tiling import check_grid, tile_name, tile_windows

__all__ = ['Recipe', 'Source', 'convert', 'pair_sources']


@dataclass(frozen=True)
class Source:
    """One image of a download with its masks.

    Args:
        name (str): Stem of its tiles.
        split (str): 'train', 'val', ...
        image (Member): The image.
        masks (Mapping[str, Member]): Folder of the mask tiles ('ann_dir') -> mask.
    """

    name: str
    split: str
    image: Member
    masks: Mapping[str, Member] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How images become tiles.

    Args:
        table (LabelTable): Numbers of the classes.
        crop (int | None): Side of a tile, px; None: whole images under their own names.
        stride (int | None): Step between tiles, px.
        naming (str): See ``tiling.NAMINGS``.
        pad (bool): Whether an image smaller than the crop is filled up below and on the right, with 0 and with
            ``table.ignored`` in masks.
        gray (bool): Whether images of one band stay so; otherwise they get three equal bands.
        suffix (str): '.png' or '.tif' of image and mask tiles.
        mask_suffix (str | None): Another ending of mask tiles.
        bands, scale: See :func:`.rasters.as_image`.
    """

    table: LabelTable
    crop: int | None = 512
    stride: int | None = 512
    naming: str = 'xyxy'
    pad: bool = False
    gray: bool = False
    suffix: str = '.png'
    mask_suffix: str | None = None
    bands: tuple[int, ...] | None = None
    scale: tuple[float, float] | None = None


def pair_sources(images: Mapping[str, Member], masks: Mapping[str, Mapping[str, Member]], split,
                 partial: bool = False) -> list[Source]:
    """Put images and masks of the same name together.

    Args:
        images: Name -> image.
        masks: Folder of the mask tiles -> name -> mask.
        split: Function: name -> split.
        partial: Leave out what has no counterpart.

    Raises:
        ConversionError: An image without mask, or a mask without image.
    """
    if partial:
        whole = set(images).intersection(*masks.values())
        images = {name: images[name] for name in whole}
        masks = {folder: {name: found[name] for name in whole} for folder, found in masks.items()}
    for found in masks.values():
        alone = sorted(images.keys() - found.keys())
        if alone:
            raise ConversionError(f'{len(alone)} of {len(images)} images have no mask: {", ".join(alone[:8])} '
                                  f'(for example {images[alone[0]]}); the masks are in '
                                  f'{_archives(found) or "no archive"}')
        alone = sorted(found.keys() - images.keys())
        if alone:
            raise ConversionError(f'{len(alone)} of {len(found)} masks have no image: {", ".join(alone[:8])} '
                                  f'(for example {found[alone[0]]}); the images are in {_archives(images)}')
    return [Source(name, split(name), images[name], {folder: found[name] for folder, found in masks.items()})
            for name in sorted(images)]


def _archives(members: Mapping[str, Member]) -> str:
    return ', '.join(sorted({Path(member.archive).name for member in members.values()}))


def convert(sources: Sequence[Source], recipe: Recipe, out: str | Path, dataset: Mapping[str, Any], workers: int = 1,
            overwrite: bool = False, code: Any = None) -> dict:
    """Write ``out/img_dir/SPLIT/*``, ``out/ann_dir/SPLIT/*`` and ``out/dataset.json``.

    Args:
        sources: Images with masks; names are unique in a split.
        recipe: How they become tiles.
        out: Folder of the data set. A run that was stopped goes on when it is started again.
        dataset: For the manifest: name, classes, mode, ...
        workers: Processes.
        overwrite: Replace what was converted with other settings.
        code: State of the code, for the manifest.

    Returns:
        dict: The manifest.

    Raises:
        ConversionError: A source cannot be used, or ``out`` cannot be written; finished tiles stay.
    """
    if workers < 1:
        raise ConversionError(f'--workers {workers} must be at least 1')
    check_grid(recipe.crop, recipe.stride)
    _check_unique(sources)
    members = [member for source in sources for member in (source.image, *source.masks.values())]
    settings = dict(dataset, crop=recipe.crop, stride=recipe.stride, suffix=recipe.suffix, bands=recipe.bands,
                    scale=recipe.scale, max_stray=recipe.table.max_stray, sources=fingerprint(members))
    try:
        results = claim(out, settings, overwrite)
        todo = [source for source in sources if f'{source.split}/{source.name}' not in results]
        for result in track(_run(todo, recipe, Path(out), workers), 'converting', total=len(todo)):
            append_result(out, result)
            results[f"{result['split']}/{result['name']}"] = result
    except OSError as error:
        raise ConversionError(f'{out} cannot be written ({error.strerror or error}); finished tiles stay. Make room or '
                              'choose a folder you may write to, then run the same command again') from error
    hashing = partial(track, description='hashing')
    archives = source_facts(sorted({member.archive for member in members}), hashing)
    ordered = [results[f'{source.split}/{source.name}'] for source in sources]
    return finish(out, dict(code=code, sources=archives, splits=_split_facts(ordered, recipe, dataset['classes'])))


def _check_unique(sources: Sequence[Source]) -> None:
    seen: dict[tuple[str, str], Source] = {}
    for source in sources:
        first = seen.setdefault((source.split, source.name), source)
        if first is not source:
            raise ConversionError(f"two images give tiles called '{source.name}' in {source.split}: {first.image} and "
                                  f'{source.image}')


def _run(sources: Sequence[Source], recipe: Recipe, out: Path, workers: int) -> Iterator[dict]:
    """Results in the order in which they are ready. Processes start before the first one is asked for."""
    job = partial(convert_source, recipe=recipe, out=out)
    if workers == 1 or len(sources) < 2:
        return map(job, sources)
    # fork: a new interpreter would import the whole stack first. Elsewhere than on Linux it is not safe.
    context = get_context('fork' if sys.platform == 'linux' else 'spawn')
    pool = ProcessPoolExecutor(min(workers, len(sources)), context)
    return _results(pool, [pool.submit(job, source) for source in sources])


def _results(pool: ProcessPoolExecutor, jobs: Sequence[Future]) -> Iterator[dict]:
    try:
        for done in as_completed(jobs):
            try:
                yield done.result()
            except ConversionError as error:
                raise ConversionError(str(error)) from error  # raised here: its traceback ends in this package
    finally:
        pool.shutdown(cancel_futures=True)


def convert_source(source: Source, recipe: Recipe, out: Path) -> dict:
    """Write all tiles of one image.

    Returns:
        dict: ``name``, ``split``, ``tiles`` (names), ``suffixes`` (folder -> ending), ``class_pixels`` (mask folder
        -> pixels of each class), ``stray`` (value -> pixels), ``sha256`` of files that were not in a zip file.

    Raises:
        ConversionError: A file cannot be used, or image and mask differ in size.
        OSError: A tile cannot be written.
    """
    hashes: dict[str, str] = {}
    raster = decode(source.image, _content(source.image, hashes))
    image = as_image(raster, str(source.image), recipe.bands, recipe.scale)
    if image.shape[-1] == 1 and not recipe.gray:
        image = np.repeat(image, 3, axis=-1)
    labels, stray = {}, {}
    for folder, member in source.masks.items():
        raw = as_label_values(decode(member, _content(member, hashes)), recipe.table.values.mask_format == 'color',
                              str(member))
        if raw.shape[:2] != image.shape[:2]:
            raise ConversionError(f'{member}: the mask has {raw.shape[0]} x {raw.shape[1]} px (height x width), its '
                                  f'image {source.image} has {image.shape[0]} x {image.shape[1]}')
        labels[folder], found = recipe.table.recode(raw, str(member))
        stray.update(found)
    if recipe.pad and recipe.crop:
        image = _padded(image, recipe.crop, 0)
        labels = {folder: _padded(label, recipe.crop, recipe.table.ignored) for folder, label in labels.items()}

    mask_suffix = recipe.mask_suffix or recipe.suffix
    suffixes = {**{folder: mask_suffix for folder in labels}, 'img_dir': recipe.suffix}
    tiles, counts = [], {folder: np.zeros(len(recipe.table.values.values), np.int64) for folder in labels}
    for window in tile_windows(*image.shape[:2], recipe.crop, recipe.stride):
        name = source.name if recipe.crop is None else tile_name(source.name, window, recipe.naming)
        part = np.s_[window.top:window.top + window.height, window.left:window.left + window.width]
        for folder, label in labels.items():
            counts[folder] += recipe.table.count(label[part])
            write_whole(out / folder / source.split / (name + mask_suffix),
                        encode(label[part], recipe.suffix, raster, window))
        write_whole(out / 'img_dir' / source.split / (name + recipe.suffix),
                    encode(image[part], recipe.suffix, raster, window))
        tiles.append(name)
    return dict(name=source.name, split=source.split, tiles=tiles, suffixes=suffixes, stray=stray, sha256=hashes,
                class_pixels={folder: count.tolist() for folder, count in counts.items()})


def _content(member: Member, hashes: dict[str, str]) -> bytes:
    content = member.read()
    if os.path.isdir(member.archive):
        hashes[member.name] = hashlib.sha256(content).hexdigest()
    return content


def _padded(array: np.ndarray, crop: int, value: int) -> np.ndarray:
    below, right = (max(0, crop - side) for side in array.shape[:2])
    return np.pad(array, ((0, below), (0, right), *[(0, 0)] * (array.ndim - 2)), constant_values=value)


def _split_facts(results: Sequence[dict], recipe: Recipe, classes: Sequence[str]) -> dict:
    """For each split: images, tiles, pixels of each class in each mask folder, stray values, hashes of loose files."""
    facts: dict[str, dict] = {}
    for result in results:
        split = facts.setdefault(result['split'], dict(images=0, tiles=0, class_pixels={}, stray={}, sha256={}))
        split['images'] += 1
        split['tiles'] += len(result['tiles'])
        split['sha256'].update(result['sha256'])
        for value, count in result['stray'].items():
            split['stray'][value] = split['stray'].get(value, 0) + count
        for folder, counts in result['class_pixels'].items():
            total = split['class_pixels'].setdefault(folder, dict.fromkeys(classes, 0))
            for name, count in zip(classes, counts):
                total[name] += count
    return facts
