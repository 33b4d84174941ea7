"""Finding image/mask pairs on disk and checking that they belong together."""
import logging
import os
from collections.abc import Sequence

from mmengine.logging import print_log

from .image_files import find_images, matches_any
from .tile_reading import TileReadError, geotiff_place, image_size

__all__ = ['PARTS', 'add_full_masks', 'check_pair_size', 'find_pairs', 'part_of']

PARTS = ('train', 'dev')


def find_pairs(img_prefix: str, seg_prefix: str | None, img_suffix: str | Sequence[str], seg_map_suffix: str,
               include: str | Sequence[str] | None = None, names: Sequence[str] | None = None) -> list[dict]:
    """Pair images with masks of the same relative stem.

    Args:
        img_prefix: Image folder. One path component may be ``*``: any folder.
        seg_prefix: Mask folder, with the same ``*``; None for images without masks.
        img_suffix: Ending (or endings) of image files.
        seg_map_suffix: Ending of mask files; mask = stem + ending.
        include: Shell patterns on the relative stem or the tile name.
        names: Only these tile names (lines of a split file).

    Returns:
        ``tile_name``, ``source`` (the folder ``*`` stands for, else None), ``img_path`` and ``seg_map_path`` (if there
        are masks), sorted by name.

    Raises:
        FileNotFoundError: A missing folder, an image without a mask, no image at all, or a name without an image.
        ValueError: A bad ``*``, or two images with the same stem.
    """
    suffixes = (img_suffix, ) if isinstance(img_suffix, str) else tuple(img_suffix)
    pairs: dict[str, dict] = {}
    orphans: list[str] = []
    for source, img_dir, seg_dir in _folders(img_prefix, seg_prefix):
        together = seg_dir is not None and os.path.realpath(img_dir) == os.path.realpath(seg_dir)
        masks = {} if seg_dir is None else dict(_stems(seg_dir, (seg_map_suffix, ), suffixes if together else ()))
        for stem, path in _stems(img_dir, suffixes, (seg_map_suffix, ) if together else ()):
            name = stem if source is None else f'{source}/{stem}'
            if name in pairs:
                raise ValueError(f"two images are called '{name}': {pairs[name]['img_path']} and {path}")
            pairs[name] = dict(tile_name=name, source=source, stem=stem, img_path=path)
            if seg_dir is not None:
                pairs[name]['seg_map_path'] = masks.pop(stem, None)
                pairs[name]['expected_mask'] = os.path.join(seg_dir, stem + seg_map_suffix)
        orphans += masks.values()

    if orphans:
        print_log(f'{len(orphans)} masks have no image and are not used, e.g. {orphans[0]}', logger='current',
                  level=logging.WARNING)
    chosen = _choose(pairs, include, names, img_prefix, suffixes)
    without = [p for p in chosen if 'expected_mask' in p and p['seg_map_path'] is None]
    if without:
        raise FileNotFoundError(f"{len(without)} of {len(chosen)} images have no mask, e.g. "
                                f"{without[0]['img_path']}: expected {without[0]['expected_mask']}")
    return [{k: v for k, v in p.items() if k not in ('stem', 'expected_mask')} for p in chosen]


def part_of(pairs: Sequence[dict], dev_tiles: str | Sequence[str], part: str) -> list[dict]:
    """The pairs of the development part, or all others.

    Args:
        pairs: What :func:`find_pairs` returns.
        dev_tiles: Shell patterns on the relative stem or the tile name.
        part: ``'dev'``: pairs that match; ``'train'``: pairs that do not.

    Raises:
        ValueError: The patterns match none of the pairs, or all.
    """
    dev = [matches_any(dev_tiles, _stem(pair), pair['tile_name']) for pair in pairs]
    if all(dev) or not any(dev):
        raise ValueError(f'dev_tiles={dev_tiles!r} matches {"all" if all(dev) else "none"} of the {len(pairs)} '
                         f'training tiles ({pairs[0]["tile_name"]}, ...): give shell patterns on their names that '
                         'leave some to train on and some to develop on')
    return [pair for pair, held_out in zip(pairs, dev) if held_out == (part == 'dev')]


def _stem(pair: dict) -> str:
    """The tile's name without the folder that ``*`` stands for."""
    return pair['tile_name'] if pair['source'] is None else pair['tile_name'][len(pair['source']) + 1:]


def add_full_masks(pairs: Sequence[dict], prefix: str, suffix: str) -> list[dict]:
    """Give each pair the mask of the same name in a second folder, as ``full_seg_map_path``.

    Args:
        pairs: What :func:`find_pairs` returns.
        prefix: Folder of the full masks, with the same ``*`` as the images'.
        suffix: Ending of mask files.

    Raises:
        FileNotFoundError: A tile has no full mask.
    """
    full_pairs = []
    for pair in pairs:
        path = os.path.join(prefix.replace('*', pair['source'] or '*'), _stem(pair) + suffix)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no full reference for tile '{pair['tile_name']}': expected {path}. Convert the "
                                    "data with tools/dataset_converters, or set data_prefix.full_seg_map_path='' to "
                                    'measure boundaries in the masks of seg_map_path')
        full_pairs.append(dict(pair, full_seg_map_path=path))
    return full_pairs


def _choose(pairs: dict[str, dict], include: str | Sequence[str] | None, names: Sequence[str] | None, img_prefix: str,
            suffixes: Sequence[str]) -> list[dict]:
    if not pairs:
        named = f'with the suffix {" or ".join(suffixes)}' if len(suffixes) < 10 else 'of any raster format'
        raise FileNotFoundError(f'no images {named} in {img_prefix}')
    if names is not None:
        absent = [name for name in names if name not in pairs]
        if absent:
            raise FileNotFoundError(f'{len(absent)} of {len(names)} listed tiles have no image in {img_prefix}: '
                                    f'{", ".join(absent[:5])}')
        pairs = {name: pairs[name] for name in names}
    chosen = [pairs[name] for name in sorted(pairs) if matches_any(include, pairs[name]['stem'], name)]
    if not chosen:
        raise FileNotFoundError(f'none of the {len(pairs)} images in {img_prefix} matches include={include!r}')
    return chosen


def _stems(folder: str, suffixes: Sequence[str], others: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(stem relative to the folder, path) of every file that ends with one of the suffixes.

    ``others`` are the endings of other files in the same folder: the longest ending decides, so that
    'a_mask.png' is not an image although it ends with '.png'.
    """
    stems = []
    for file in find_images(folder, suffixes):
        ending = max((s for s in (*suffixes, *others) if file.lower().endswith(s.lower())), key=len)
        if ending in suffixes:
            stems.append((file[:-len(ending)], os.path.join(folder, file)))
    return stems


def _folders(img_prefix: str, seg_prefix: str | None) -> list[tuple[str | None, str, str | None]]:
    """(source, image folder, mask folder) for each folder ``*`` stands for."""
    prefixes = [p for p in (img_prefix, seg_prefix) if p is not None]
    stars = [_split_star(p) for p in prefixes]
    if all(star is None for star in stars):
        return [(None, img_prefix, seg_prefix)]
    if any(star is None for star in stars):
        raise ValueError(f"'*' must be in both prefixes or in none: {img_prefix!r}, {seg_prefix!r}")
    triples = []
    base, rest = stars[0]
    if not os.path.isdir(base):
        raise FileNotFoundError(f'image folder {base} does not exist')
    for source in sorted(os.listdir(base)):
        if source.startswith('.') or not os.path.isdir(os.path.join(base, source, rest)):
            continue
        folders = [os.path.join(b, source, r) for b, r in stars]
        triples.append((source, folders[0], folders[1] if seg_prefix is not None else None))
    if not triples:
        raise FileNotFoundError(f'no folder matches {img_prefix}')
    return triples


def _split_star(prefix: str) -> tuple[str, str] | None:
    """'a/*/b' -> ('a', 'b'); None without a '*'."""
    parts = prefix.replace(os.sep, '/').split('/')
    stars = [i for i, part in enumerate(parts) if '*' in part]
    if not stars:
        return None
    if len(stars) > 1 or parts[stars[0]] != '*':
        raise ValueError(f"data_prefix {prefix!r}: '*' may stand for exactly one whole path component")
    at = stars[0]
    return '/'.join(parts[:at]) or '/', '/'.join(parts[at + 1:])


def check_pair_size(img_path: str, seg_map_path: str) -> None:
    """Compare the sizes in the two headers, and the places of two GeoTIFF files.

    Raises:
        TileReadError: Sizes or places differ, or a file cannot be read.
    """
    image, mask = image_size(img_path), image_size(seg_map_path, is_mask=True)
    if image != mask:
        raise TileReadError(f'{seg_map_path}: the mask has {mask[0]} x {mask[1]} px (height x width) but its '
                            f'image {img_path} has {image[0]} x {image[1]}')
    places = geotiff_place(img_path), geotiff_place(seg_map_path)
    if None not in places and places[0] != places[1]:
        raise TileReadError(f'{seg_map_path}: the mask does not lie where its image {img_path} does on the ground; '
                            'tools/dataset_converters/folder.py puts it there')
