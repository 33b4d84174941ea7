"""The four benchmarks as data sets: classes, palette, file values and names are those of the converted tiles."""
from collections.abc import Mapping
from typing import Any

from egmim_mm.registry import DATASETS

from .class_sets import ISAID_16, ISPRS_5, ISPRS_6, LOVEDA_7
from .segmentation import SegmentationTiles

__all__ = ['BenchmarkTiles', 'ISAID', 'LoveDA', 'Potsdam', 'Vaihingen', 'declared_metainfo']


class BenchmarkTiles(SegmentationTiles):
    """:class:`SegmentationTiles` whose arguments have the values of one benchmark.

    Args:
        data_root: Folder that the converter wrote.
        num_classes: Chooses among ``CLASS_SETS``; None: the first.
        **kwargs: Arguments of ``SegmentationTiles``; each replaces the value of the benchmark.

    Raises:
        ValueError: No class set has that many classes.
    """

    CLASS_SETS: tuple[dict, ...]
    FILES: dict[str, str] = dict(img_suffix='.png')

    def __init__(self, data_root: str, num_classes: int | None = None, **kwargs: Any) -> None:
        super().__init__(data_root, **{**self.FILES, **self.class_set(num_classes), **kwargs})

    @classmethod
    def class_set(cls, num_classes: int | None = None) -> dict:
        """``metainfo``, ``mask_values`` and ``ignore_values``; raises as the constructor does."""
        for chosen in cls.CLASS_SETS:
            if num_classes in (None, len(chosen['metainfo']['classes'])):
                return chosen
        numbers = ' or '.join(str(len(chosen['metainfo']['classes'])) for chosen in cls.CLASS_SETS)
        raise ValueError(f'{cls.__name__} has {numbers} classes, not num_classes={num_classes}')


@DATASETS.register_module()
class Vaihingen(BenchmarkTiles):
    """ISPRS Vaihingen: near infrared, red and green at 9 cm, 344 training and 398 test tiles of 512 px.

    Five classes, clutter ignored; ``num_classes=6`` makes clutter the sixth. File values: 0 = no label, 6 = clutter.
    A source is one of the 33 areas. Origin: https://www.isprs.org/education/benchmarks/UrbanSemLab
    """

    METAINFO = ISPRS_5['metainfo']
    CLASS_SETS = (ISPRS_5, ISPRS_6)
    FILES = dict(img_suffix='.png', source_pattern=r'(.+?)(?:_\d+){4}$')


@DATASETS.register_module()
class Potsdam(Vaihingen):
    """ISPRS Potsdam: RGB at 5 cm, 3456 training and 2016 test tiles of 512 px; otherwise as :class:`Vaihingen`."""


@DATASETS.register_module()
class LoveDA(BenchmarkTiles):
    """LoveDA: RGB at 30 cm, urban and rural, 2522 training and 1669 validation images of 1024 px.

    Seven classes; file values: 0 = no data. Wang et al., LoveDA, NeurIPS Datasets and Benchmarks 2021.
    """

    METAINFO = LOVEDA_7['metainfo']
    CLASS_SETS = (LOVEDA_7, )


@DATASETS.register_module()
class ISAID(BenchmarkTiles):
    """iSAID: aerial images of many sensors, 33,978 training and 11,644 validation patches of 896 px, overlapping.

    Background and fifteen classes of objects; file values: 255 = padding. A source is an image of DOTA.
    Waqas Zamir et al., iSAID, CVPR Workshops 2019.
    """

    METAINFO = ISAID_16['metainfo']
    CLASS_SETS = (ISAID_16, )
    FILES = dict(img_suffix='.png', seg_map_suffix='_instance_color_RGB.png', source_pattern=r'(P\d+)_')


def declared_metainfo(dataset: Mapping) -> dict:
    """Classes and palette that a data set will have, from its config alone: no file is read.

    Args:
        dataset: Config of a data set.

    Returns:
        ``classes`` and ``palette`` as far as the config or the class of the data set names them.

    Raises:
        ValueError: See :class:`BenchmarkTiles`.
    """
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, type) and issubclass(kind, BenchmarkTiles):
        own = kind.class_set(dataset.get('num_classes'))['metainfo']
    else:
        own = getattr(kind, 'METAINFO', {})
    return {**own, **(dataset.get('metainfo') or {})}
