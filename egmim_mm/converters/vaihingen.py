"""ISPRS Vaihingen: 33 areas of 9 cm, near infrared, red, green."""
from typing import Any

from .isprs import Archive, convert_isprs

__all__ = ['PUBLISHED_TILES', 'SPLITS', 'convert_vaihingen']

ORIGIN = ('They are in Vaihingen.zip, which the ISPRS gives out on registration (https://www.isprs.org/education/'
          'benchmarks/UrbanSemLab/default.aspx); unzip that one file and leave the zip files in it as they are')
_GROUND_TRUTH = 'ISPRS_semantic_labeling_Vaihingen_ground_truth'
ARCHIVES = dict(
    img_dir=Archive('ISPRS_semantic_labeling_Vaihingen', r'(?:^|/)top/top_mosaic_09cm_area(\d+)\.tif$', 'images'),
    ann_dir=Archive(f'{_GROUND_TRUTH}_eroded_COMPLETE', r'(?:^|/)top_mosaic_09cm_area(\d+)_noBoundary\.tif$',
                    'eroded references'),
    ann_dir_full=Archive(f'{_GROUND_TRUTH}_COMPLETE', r'(?:^|/)top_mosaic_09cm_area(\d+)\.tif$', 'full references'))

_TRAIN = (1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37)
_VAL = (2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38)
SPLITS = dict(train=[f'area{i}' for i in _TRAIN], val=[f'area{i}' for i in _VAL])
PUBLISHED_TILES = dict(train=344, val=398)


def convert_vaihingen(folder: str, out: str, **options: Any) -> dict:
    """Convert the zip files in ``folder``; see :func:`.isprs.convert_isprs` for options, files and errors."""
    return convert_isprs(folder, out, ARCHIVES, SPLITS, 'vaihingen', ORIGIN, 'area{}'.format, **options)
