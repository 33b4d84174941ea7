"""What Vaihingen and Potsdam share: colours, and an image with a full and an eroded reference."""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from egmim_mm.datasets.class_sets import ISPRS_6
from egmim_mm.storage.mask_values import MaskValues

from .archives import ConversionError, Member, find_archives, list_members, match_members
from .command import missing_downloads
from .conversion import convert
from .label_table import LabelTable
from .sources import Recipe, pair_sources

__all__ = ['Archive', 'convert_isprs']

CROP = STRIDE = 512

# Colours of the published references, in class order; black is the border that the eroded reference leaves out.
# A few published masks hold blended colours at borders, which nobody can attribute: up to 1 % become unlabelled.
TABLE = LabelTable(MaskValues('color', tuple(map(tuple, ISPRS_6['metainfo']['palette'])), ('#000000', )), first=1,
                   ignored=0, max_stray=0.01)


@dataclass(frozen=True)
class Archive:
    """A published zip file.

    Args:
        name: Name without '.zip'.
        pattern: Regular expression of its members; the first group is the name of the image.
        what: What it holds.
    """

    name: str
    pattern: str
    what: str


def convert_isprs(folder: str, out: str, archives: Mapping[str, Archive], splits: Mapping[str, Sequence[str]],
                  dataset: str, origin: str, image_name: Callable[[str], str] = str, crop: int = CROP,
                  stride: int = STRIDE, compat: str | None = None, partial: bool = False, **options: Any) -> dict:
    """Convert one of the two data sets.

    Args:
        folder: Where the zip files are, or the folders they were unpacked to.
        out: Folder of the tiles: ``img_dir``, ``ann_dir`` (eroded reference) and ``ann_dir_full`` (full reference),
            each with ``train`` and ``val``. Masks: 0 = no label, 1 to 6 = classes.
        archives: 'img_dir', 'ann_dir' and 'ann_dir_full' -> zip file.
        splits: Split -> names of its images.
        dataset: Name.
        origin: Where the zip files can be had.
        image_name: Function: what the pattern found -> name of an image.
        crop, stride: Tiles, px.
        compat: 'mmseg': do without the full reference if it is not there.
        partial: Whether images may be missing.
        **options: ``workers``, ``overwrite`` and ``code`` of :func:`.conversion.convert`.

    Returns:
        The manifest.

    Raises:
        ConversionError: A zip file or an image is missing, or a file cannot be used.
    """
    paths_of = {role: find_archives(folder, archive.name) for role, archive in archives.items()}
    if compat and not paths_of['ann_dir_full']:
        del paths_of['ann_dir_full']
    missing = {f'{archives[role].name}.zip': archives[role].what for role, paths in paths_of.items() if not paths}
    if missing:
        raise missing_downloads(folder, missing, origin)
    known = {name: split for split, names in splits.items() for name in names}
    members = {role: _named(paths[0], archives[role], image_name, known) for role, paths in paths_of.items()}
    if not partial:
        for role, named in members.items():
            absent = [name for name in known if name not in named]
            if absent:
                raise ConversionError(f'{paths_of[role][0]} lacks {len(absent)} of the {len(known)} '
                                      f'{archives[role].what}: {", ".join(absent[:8])}; download it again, or '
                                      f'convert what is there with --partial. {origin}')
    images = members.pop('img_dir')
    recipe = Recipe(TABLE, crop, stride)
    settings = dict(dataset=dataset, compat=compat, classes=list(ISPRS_6['metainfo']['classes']), first_class=1,
                    ignored=0, references=sorted(members))
    return convert(pair_sources(images, members, known.__getitem__, partial), recipe, out, settings, **options)


def _named(path: str, archive: Archive, image_name: Callable[[str], str],
           known: Mapping[str, str]) -> dict[str, Member]:
    """Members of a zip file by the name of their image; other images (an unused area) are left out."""
    matched = match_members(list_members(path), archive.pattern)
    if not matched:
        raise ConversionError(f'{path} holds no {archive.what} ({archive.pattern}); is it another file of this name?')
    return {image_name(key): member for key, member in matched.items() if image_name(key) in known}
