"""iSAID: instance masks of DOTA's aerial images, here as semantic classes, in patches of 896 x 896 px."""
import os
from typing import Any

from egmim_mm.datasets.class_sets import ISAID_16
from egmim_mm.storage.mask_values import MaskValues

from .archives import ConversionError, Member, list_members, match_members
from .command import missing_downloads
from .conversion import convert
from .label_table import LabelTable
from .sources import Recipe, Source, pair_sources

__all__ = ['PUBLISHED_TILES', 'convert_isaid']

CROP, STRIDE = 896, 512  # an overlap of 384 px
ORIGIN = ('Images are those of DOTA v1.0 (https://captain-whu.github.io/DOTA/dataset.html: part1.zip, ...), masks '
          'those of iSAID (https://captain-whu.github.io/iSAID/dataset.html: Semantic_masks/images.zip); put them into '
          'DOWNLOAD/{train,val}/images and DOWNLOAD/{train,val}/Semantic_masks')
NUM_IMAGES = dict(train=1411, val=458)
PUBLISHED_TILES = dict(train=33978, val=11644)
MASK_ENDING = '_instance_color_RGB'
TABLE = LabelTable(MaskValues('color', tuple(map(tuple, ISAID_16['metainfo']['palette']))), max_stray=0.01)


def convert_isaid(folder: str, out: str, crop: int = CROP, stride: int = STRIDE, compat: str | None = None,
                  partial: bool = False, **options: Any) -> dict:
    """Convert the zip files below ``folder/train`` and ``folder/val``.

    Args:
        folder: Where they are: any zip files, or unpacked files, of images P0000.png and masks
            P0000_instance_color_RGB.png.
        out: Folder of the tiles: ``img_dir/{train,val}`` and ``ann_dir/{train,val}``. Masks: 0 = background, 1 to 15 =
            classes, 255 = padding.
        crop, stride: Patches, px. Images smaller than a patch are padded below and on the right.
        compat: 'mmseg', noted in the manifest.
        partial: Whether images may be missing.
        **options: ``workers``, ``overwrite`` and ``code`` of :func:`.conversion.convert`.

    Returns:
        The manifest.

    Raises:
        ConversionError: A folder or an image is missing, or a file cannot be used.
    """
    sources: list[Source] = []
    for split, expected in NUM_IMAGES.items():
        below = os.path.join(folder, split)
        members = _all_members(below) if os.path.isdir(below) else []
        images = match_members(members, r'(?:^|/)(P\d+)\.png$')
        masks = match_members(members, rf'(?:^|/)(P\d+){MASK_ENDING}\.png$')
        missing = {f'{split}/{name}': what for name, what, there in (
            ('images/*.zip', 'images of DOTA', images),
            ('Semantic_masks/*.zip', f'masks *{MASK_ENDING}.png', masks)) if not there}
        if missing:
            raise missing_downloads(folder, missing, ORIGIN)
        if len(images) != expected and not partial:
            raise ConversionError(f'{below}: holds {len(images)} of the {expected} images, in '
                                  f'{len({m.archive for m in images.values()})} archives; are all parts there? Convert '
                                  f'what is there with --partial. {ORIGIN}')
        sources += pair_sources(images, dict(ann_dir=masks), lambda _, split=split: split, partial)
    settings = dict(dataset='isaid', compat=compat, classes=list(ISAID_16['metainfo']['classes']), first_class=0,
                    ignored=TABLE.ignored)
    recipe = Recipe(TABLE, crop, stride, 'yyxx', pad=True, mask_suffix=f'{MASK_ENDING}.png')
    return convert(sources, recipe, out, settings, **options)


def _all_members(folder: str) -> list[Member]:
    """Members of all zip files below a folder, and its loose files."""
    loose = list_members(folder)
    zips = [member for member in loose if member.name.lower().endswith('.zip')]
    return [member for member in loose if member not in zips] + [
        member for archive in zips for member in list_members(os.path.join(folder, archive.name))]
