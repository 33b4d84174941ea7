"""ISPRS Potsdam: 38 images of 6000 x 6000 px, 5 cm, red, green, blue."""
from typing import Any

from .isprs import Archive, convert_isprs

__all__ = ['PUBLISHED_TILES', 'SPLITS', 'convert_potsdam']

ORIGIN = ('They are in Potsdam.zip, which the ISPRS gives out on registration (https://www.isprs.org/education/'
          'benchmarks/UrbanSemLab/default.aspx); unzip that one file and leave the zip files in it as they are. '
          '5_Labels_for_participants.zip is not enough: it has the training images only')
ARCHIVES = dict(
    img_dir=Archive('2_Ortho_RGB', r'(?:^|/)top_potsdam_(\d+_\d+)_RGB\.tif$', 'images'),
    ann_dir=Archive('5_Labels_all_noBoundary', r'(?:^|/)top_potsdam_(\d+_\d+)_label_noBoundary\.tif$',
                    'eroded references'),
    ann_dir_full=Archive('5_Labels_all', r'(?:^|/)top_potsdam_(\d+_\d+)_label\.tif$', 'full references'))

SPLITS = dict(
    train=[f'{row}_{column}' for row, first in ((2, 10), (3, 10), (4, 10), (5, 10), (6, 7), (7, 7))
           for column in range(first, 13)],
    val=[f'{row}_{column}' for row, last in ((2, 14), (3, 14), (4, 15), (5, 15), (6, 15), (7, 13))
         for column in range(13, last + 1)])
PUBLISHED_TILES = dict(train=3456, val=2016)


def convert_potsdam(folder: str, out: str, **options: Any) -> dict:
    """Convert the zip files in ``folder``; see :func:`.isprs.convert_isprs` for options, files and errors."""
    return convert_isprs(folder, out, ARCHIVES, SPLITS, 'potsdam', ORIGIN, _without_zeros, **options)


def _without_zeros(name: str) -> str:
    """'06_07' -> '6_7': some of the files write the numbers with two digits."""
    return '_'.join(str(int(number)) for number in name.split('_'))
