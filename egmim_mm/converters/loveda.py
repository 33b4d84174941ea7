"""LoveDA: images of 1024 x 1024 px, 30 cm, from rural and urban areas of three Chinese cities."""
from typing import Any

from egmim_mm.datasets.class_sets import LOVEDA_7
from egmim_mm.storage.mask_values import MaskValues

from .archives import ConversionError, find_archives, list_members, match_members
from .command import missing_downloads
from .conversion import convert
from .label_table import LabelTable
from .sources import Recipe, Source, pair_sources

__all__ = ['PUBLISHED_TILES', 'convert_loveda']

ORIGIN = 'Train.zip, Val.zip and Test.zip: https://zenodo.org/records/5706578'
PUBLISHED_TILES = dict(train=2522, val=1669)
NUM_TEST = 1796
# File values: 0 = no data, 1 to 7 = classes; they stay as they are.
TABLE = LabelTable(MaskValues('index', LOVEDA_7['mask_values'], LOVEDA_7['ignore_values']), first=1, ignored=0)


def convert_loveda(folder: str, out: str, crop: int | None = None, stride: int | None = None,
                   compat: str | None = None, partial: bool = False, **options: Any) -> dict:
    """Convert Train.zip and Val.zip, and Test.zip (no labels) if it is there.

    Args:
        folder: Where the zip files are, or the folders they were unpacked to.
        out: Folder of the tiles: ``img_dir/{train,val,test}`` and ``ann_dir/{train,val}``. Masks: 0 = no data, 1 to 7 =
            classes.
        crop, stride: Tiles, px; None: whole images under their own names, as mmsegmentation has them.
        compat: 'mmseg', noted in the manifest.
        partial: Whether images may be missing.
        **options: ``workers``, ``overwrite`` and ``code`` of :func:`.conversion.convert`.

    Returns:
        The manifest.

    Raises:
        ConversionError: A zip file or an image is missing, or a file cannot be used.
    """
    paths_of = {split: find_archives(folder, split) for split in ('train', 'val', 'test')}
    missing = {f'{split.title()}.zip': f'{split} images and masks' for split in ('train', 'val') if not paths_of[split]}
    if missing:
        raise missing_downloads(folder, missing, ORIGIN)
    sources: list[Source] = []
    for split, paths in paths_of.items():
        if not paths:
            continue
        members = list_members(paths[0])
        images = match_members(members, r'(?:Rural|Urban)/images_png/(\d+)\.png$')
        masks = match_members(members, r'(?:Rural|Urban)/masks_png/(\d+)\.png$')
        expected = dict(PUBLISHED_TILES, test=NUM_TEST)[split]
        if not images or (len(images) != expected and not partial):
            raise ConversionError(f'{paths[0]}: holds {len(images)} of the {expected} images; download it again, or '
                                  f'convert what is there with --partial. {ORIGIN}')
        sources += pair_sources(images, dict(ann_dir=masks) if split != 'test' else {}, lambda _, split=split: split,
                                partial)
    settings = dict(dataset='loveda', compat=compat, classes=list(LOVEDA_7['metainfo']['classes']), first_class=1,
                    ignored=0)
    return convert(sources, Recipe(TABLE, crop, stride), out, settings, **options)
