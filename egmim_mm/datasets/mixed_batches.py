"""Labelled and unlabelled samples in one stream, so that every batch has a fixed share of both."""
import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset, Compose
from mmengine.logging import print_log
from mmengine.structures import PixelData

from egmim_mm.registry import DATA_SAMPLERS, DATASETS
from egmim_mm.storage.mask_values import IGNORE
from egmim_mm.storage.tile_reading import TileReadError, image_bands

from .imagery import UnlabeledTiles
from .plain_tiles import without_augmentation
from .position_seed import SampleIndex, mix_seed, seed_generators
from .samplers import LabelBudgetSampler, StreamSampler
from .sparse_labels import SparseLabels
from .tile_tags import check_tagged, read_tags
from .transforms import LoadTileMask

__all__ = ['MixedLabelBudgetSampler', 'WithUnlabelled', 'share_ratio']

_HEADERS = 5000  # images whose bands are compared
_LARGEST_PERIOD = 64  # samples after which the pattern of labelled and unlabelled ones repeats


def share_ratio(labelled_share: float) -> Fraction:
    """The share of labelled samples as a ratio of small whole numbers.

    Raises:
        ValueError: A share of 0 or less, or of 1 or more.
    """
    if not isinstance(labelled_share, (int, float)) or not 0 < labelled_share < 1:
        raise ValueError(f'train_dataloader.sampler.labelled_share is {labelled_share}: a share of each batch above 0 '
                         'and below 1, such as 0.5; without unlabelled samples use egmim_mm.LabelBudgetSampler')
    ratio = Fraction(labelled_share).limit_denominator(_LARGEST_PERIOD)
    if not 0 < ratio < 1:
        raise ValueError(f'train_dataloader.sampler.labelled_share is {labelled_share}: the least is '
                         f'1/{_LARGEST_PERIOD}, the largest {_LARGEST_PERIOD - 1}/{_LARGEST_PERIOD}')
    return ratio


class NoLabels(BaseTransform):
    """In place of the mask: class 0 where there are data, 255 elsewhere; what changes masks then shows the padding."""

    def transform(self, results: dict) -> dict:
        valid = results.pop('valid', None)
        shape = results['img'].shape[:2]
        results['gt_seg_map'] = np.zeros(shape, np.uint8) if valid is None else np.where(valid, 0, IGNORE).astype(
            np.uint8)
        results['seg_fields'] = ['gt_seg_map']
        return results


class WithUnlabelled:
    """Data set mixin: the same tiles once more without their labels, and further imagery, under numbers from N on.

    Number N + i is tile i of the N labelled ones without its label, which is not read; from 2 N on follow the images of
    ``unlabeled``. Such a sample has labels of 255, ``unlabelled=True`` in its meta data and, if it is padded, ``valid``
    (1, H, W) bool. Its pipeline is that of the labelled tiles without ``LoadTileMask`` and ``SparseLabels``, with the
    same caches; images that bring their own crops, such as those of ``RasterCrops``, are only packed. An image that
    ``tags`` names, see :func:`~.tile_tags.read_tags`, has ``present`` in its meta data, the numbers of its classes.
    """

    unlabeled: Mapping | Sequence[Mapping] | None = None
    tags: str | None = None

    def open_unlabelled(self) -> list[BaseDataset]:
        """Build the data sets of ``unlabeled``, once, before there are loader workers."""
        if not hasattr(self, '_further'):
            steps = [step for step in self.pipeline.transforms if not isinstance(step, (LoadTileMask, SparseLabels))]
            if not any(isinstance(step, LoadTileMask) for step in self.pipeline.transforms):
                raise ValueError('the pipeline has no egmim_mm.LoadTileMask, so it is not known where the labels of '
                                 'unlabelled tiles would be loaded')
            self._steps = [steps[0], NoLabels(), *steps[1:]]
            configs = [self.unlabeled] if isinstance(self.unlabeled, Mapping) else list(self.unlabeled or ())
            self._further = [self._opened(config) for config in configs]
            self._present = {} if self.tags is None else read_tags(self.tags, self.metainfo['classes'])
            if self._present:
                further = [self._further_name(images, place) for images in self._further
                           if isinstance(images, UnlabeledTiles) for place in range(len(images))]
                check_tagged(self.tags, self._present, {*self.tile_names, *further})
        return self._further

    @staticmethod
    def _further_name(images: BaseDataset, place: int) -> str:
        """Name of an image of ``unlabeled``: its path below ``data_root``, or in its archive, without suffix."""
        entry = images.get_data_info(place)
        path = entry['tar_member'].name if 'tar_member' in entry else os.path.relpath(entry['img_path'],
                                                                                      images.data_root)
        return os.path.splitext(path)[0]

    def _opened(self, config: Mapping) -> BaseDataset:
        config = {'type': 'egmim_mm.UnlabeledTiles', **config}
        loads = issubclass(DATASETS.get(config['type']), UnlabeledTiles)
        return DATASETS.build(dict(config, pipeline=self._steps if loads else [NoLabels(), self._steps[-1]]))

    def unlabelled_numbers(self, labelled: Sequence[int], rest: bool = True) -> list[int]:
        """Numbers of all unlabelled samples.

        Args:
            labelled: The tiles whose labels are used.
            rest: Whether the other tiles count as unlabelled.

        Raises:
            ValueError: There is none.
            TileReadError: One has another number of bands than the labelled tiles.
        """
        count, used = len(self), set(labelled)
        numbers = [count + tile for tile in range(count) if rest and tile not in used]
        numbers += range(2 * count, 2 * count + sum(map(len, self.open_unlabelled())))
        if not numbers:
            raise ValueError(f'there is no unlabelled tile: all {count} tiles of {self.data_root} are labelled' if rest
                             else 'there is no unlabelled tile: sampler.use_rest is False')
        self._check_bands(next(iter(labelled)), numbers)
        return numbers

    def unlabelled_files(self, numbers: Sequence[int], rasters: bool = True) -> Iterator[str]:
        """Files of unlabelled samples, with those that crops are cut from; images in archives have none."""
        count = len(self)
        yield from (self.get_data_info(number - count)['img_path'] for number in numbers if number < 2 * count)
        for images in self.open_unlabelled():
            if isinstance(images, UnlabeledTiles):
                entries = (images.get_data_info(place) for place in range(len(images)))
                yield from (entry['img_path'] for entry in entries if 'tar_member' not in entry)
            elif rasters:
                yield from (entry['img_path'] for entry in images.load_data_list())

    def _check_bands(self, labelled: int, numbers: Sequence[int]) -> None:
        first = self.get_data_info(labelled)['img_path']
        bands = image_bands(first)
        for images in self.open_unlabelled():
            if not isinstance(images, UnlabeledTiles):
                crop = without_augmentation(images)[0]
                if crop['img'].shape[2] != 3:  # what LoadTile makes of labelled tiles
                    raise TileReadError(f'{crop["img_path"]} gives {crop["img"].shape[2]} bands, and labelled tiles '
                                        f'such as {first} are read as 3: choose bands= of {type(images).__name__}')
        for file in islice(self.unlabelled_files(numbers, rasters=False), _HEADERS):
            if (number := image_bands(file)) != bands:
                raise TileReadError(f'{file} has {number} band{"s" * (number > 1)} and {first} has {bands}: unlabelled '
                                    'tiles need the bands of the labelled ones; leave it out with include=')

    def prepare_data(self, idx: int) -> Any:
        """A labelled sample, or from N on an unlabelled one."""
        count = len(self)
        if idx < count:
            return super().prepare_data(idx)
        self.open_unlabelled()
        place = int(idx) - count
        if place < count:
            if isinstance(idx, SampleIndex):
                seed_generators(idx.seed)
            tile = {key: value for key, value in self.get_data_info(place).items() if 'seg_map_path' not in key}
            return self._without_labels(Compose(self._steps)(tile), idx, tile['tile_name'])
        place -= count
        for images in self._further:
            if place < len(images):
                name = self._further_name(images, place) if self._present and isinstance(
                    images, UnlabeledTiles) else ''
                return self._without_labels(images[SampleIndex(place, idx.seed) if isinstance(idx, SampleIndex)
                                                   else place], idx, name)
            place -= len(images)
        raise IndexError(f'sample {int(idx)} of a data set with {count} tiles and '
                         f'{count + sum(map(len, self._further))} unlabelled images')

    def _without_labels(self, packed: dict, idx: int, name: str) -> dict:
        sample = packed['data_samples']
        labels = sample.gt_sem_seg.data
        if (labels == IGNORE).any():
            sample.valid = PixelData(data=labels != IGNORE)
        sample.gt_sem_seg = PixelData(data=torch.full_like(labels, IGNORE))
        sample.set_metainfo(dict(unlabelled=True, **(dict(sample_seed=idx.seed) if isinstance(idx, SampleIndex)
                                                     else {})))
        if name in self._present:
            sample.set_metainfo(dict(present=self._present[name]))
        return packed


@DATA_SAMPLERS.register_module()
class MixedLabelBudgetSampler(LabelBudgetSampler):
    """:class:`LabelBudgetSampler`, with unlabelled samples in a fixed share of every batch.

    Of the samples that a process draws the first ones of each period are labelled: with ``labelled_share=0.25`` one of
    four. Both kinds are endless streams of their own, the same for any number of processes, and go on where they were
    when a run is resumed. A batch must hold whole periods. Unlabelled samples come in pairs, whose images are mixed
    with each other: each process gets both, so that mixtures do not depend on the number of processes.

    Args:
        dataset: ``SegmentationTiles``, whose ``unlabeled`` may name further imagery.
        budget, seed, strategy, shuffle, order_seed, unit: As in :class:`LabelBudgetSampler`.
        labelled_share: Above 0 and below 1; as a ratio of whole numbers up to 64.
        use_rest: Whether tiles of the data set that the budget does not choose are unlabelled samples.

    Attributes:
        unlabelled_members: Numbers of the unlabelled samples in the data set.
        unlabelled: How many they are.

    Raises:
        TypeError, ValueError: As LabelBudgetSampler; a share out of range, or no unlabelled tile.
        TileReadError: An unlabelled tile with other bands.
    """

    def __init__(self, dataset: Sized, budget: float | int | str, seed: int | None = 0,
                 strategy: str = 'class_covering', shuffle: bool = True, order_seed: int | None = None,
                 unit: str = 'tile', labelled_share: float = 0.5, use_rest: bool = True) -> None:
        self.ratio = share_ratio(labelled_share)
        if not hasattr(dataset, 'unlabelled_numbers'):
            raise TypeError('MixedLabelBudgetSampler needs a data set with unlabelled samples, such as '
                            f'SegmentationTiles; {type(dataset).__name__} has none')
        super().__init__(dataset, budget, seed, strategy, shuffle, order_seed, unit)
        self.labelled_share = labelled_share
        self.unlabelled_members = dataset.unlabelled_numbers(self.members, use_rest)
        self.unlabelled = len(self.unlabelled_members)
        print_log(f'Unlabelled: {self.unlabelled} images; {self.ratio.numerator} of {self.ratio.denominator} samples '
                  'of a batch are labelled', logger='current')
        self._streams = [(numbers, StreamSampler(numbers, mix_seed(self.stream_seed, kind), shuffle)) for kind, numbers
                         in (('labelled', self.members), ('unlabelled', self.unlabelled_members))]
        self._streams[1][1].together = 2

    def __iter__(self) -> Iterator[SampleIndex]:
        """Yield this rank's indices, without end, from the position set by :meth:`skip`."""
        labelled, period = self.ratio.numerator, self.ratio.denominator
        periods, place = divmod(self._skipped, period)
        taken = periods * labelled + min(place, labelled)
        draws = [self._drawn(*self._streams[0], taken), self._drawn(*self._streams[1], self._skipped - taken)]
        while True:
            yield next(draws[place >= labelled])
            place = (place + 1) % period

    def _drawn(self, numbers: Sequence[int], stream: StreamSampler, skipped: int) -> Iterator[SampleIndex]:
        stream.rank, stream.world_size = self.rank, self.world_size
        stream.skip(skipped)
        return (SampleIndex(numbers[index], index.seed) for index in stream)
