"""Infinite, rank-aware samplers whose stream depends on the seed and the position alone."""
from collections.abc import Iterator, Sequence, Sized
from itertools import count

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from torch.utils.data import Sampler

from egmim_mm.registry import DATA_SAMPLERS

from .label_budget import STRATEGIES, UNITS, select_tiles
from .position_seed import SampleIndex, mix_seed

__all__ = ['LabelBudgetSampler', 'SampleIndex', 'StreamSampler']


@DATA_SAMPLERS.register_module()
class StreamSampler(Sampler):
    """Endless stream of ``SampleIndex``, the same for any number of processes.

    Position p of the stream holds element p % n of the permutation of epoch p // n. Rank r of W takes
    the positions r, r + W, r + 2 W, ..., so W processes with batch B see in every step the samples that
    one process with batch W B sees. With ``together`` = g it takes groups of g positions like that.

    Args:
        dataset: The dataset.
        seed: Seed of the stream, the same on every rank. None: drawn by MMEngine's ``sync_random_seed``. The Runner
            passes its own seed when a config names none.
        shuffle: False yields 0 ... n-1 over and over.

    Raises:
        ValueError: An empty dataset.
    """

    together = 1  # neighbours in the stream that one process gets

    def __init__(self, dataset: Sized, seed: int | None = None, shuffle: bool = True) -> None:
        self._start_stream(range(len(dataset)), seed, shuffle)

    def _start_stream(self, members: Sequence[int], seed: int | None, shuffle: bool) -> None:
        if len(members) == 0:
            raise ValueError('the dataset is empty: nothing to draw samples from')
        self.rank, self.world_size = get_dist_info()
        self.stream_seed = int(sync_random_seed() if seed is None else seed)
        self.shuffle = shuffle
        self.members = members
        self._skipped = 0

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """(n,) int64: the members' places in the order of one epoch."""
        if not self.shuffle:
            return np.arange(len(self.members))
        generator = torch.Generator().manual_seed(mix_seed(self.stream_seed, 'epoch', epoch))
        return torch.randperm(len(self.members), generator=generator).numpy()

    def __iter__(self) -> Iterator[SampleIndex]:
        """Yield this rank's indices, without end, from the position set by :meth:`skip`."""
        size = len(self.members)
        epoch = order = None
        for number in count(self._skipped):
            group, place = divmod(number, self.together)
            position = (group * self.world_size + self.rank) * self.together + place
            if position // size != epoch:
                epoch = position // size
                order = self._epoch_order(epoch)
            index = self.members[order[position % size]]
            yield SampleIndex(index, mix_seed(self.stream_seed, 'sample', position))

    def skip(self, num_samples: int) -> None:
        """Start the next iteration after this rank's first ``num_samples`` indices (absolute).

        MMEngine's iteration loop calls it on resume.
        """
        if num_samples < 0:
            raise ValueError(f'num_samples must not be negative, got {num_samples}')
        self._skipped = int(num_samples)

    def __len__(self) -> int:
        """Number of distinct samples in the stream."""
        return len(self.members)

    def set_epoch(self, epoch: int) -> None:
        """The stream has no epochs to set; MMEngine calls this on every sampler."""


@DATA_SAMPLERS.register_module()
class LabelBudgetSampler(StreamSampler):
    """Stream over the few tiles that count as labelled, see :mod:`egmim_mm.datasets.label_budget`.

    Args:
        dataset: A dataset with ``tile_names``, ``sources`` and ``class_pixels()``, such as ``SegmentationTiles``.
        budget: Fraction in (0, 1] (``1.0`` = all tiles), count >= 1 (``1`` = one tile) or percentage (``'5%'``).
        seed: **Which tiles** are labelled; budgets of one seed are nested. It is not the seed of the run. Always write
            it in a config: MMEngine fills a missing ``seed`` of any sampler with the run's seed, and runs with
            different seeds would then learn from different tiles.
        strategy: ``class_covering``, ``random`` or ``source``.
        unit: What the budget counts: ``tile`` or ``source`` (whole source images or areas).
        shuffle: Whether the tiles come in random order.
        order_seed: Seed of the order and of the augmentation. None: drawn by MMEngine's ``sync_random_seed``, which
            follows the run's seed.

    Attributes:
        tile_names: The labelled tiles in the order of choice.

    Raises:
        TypeError: A dataset without tile names, or a budget of a wrong type.
        ValueError: A budget of 0 or larger than the data, an unknown strategy or unit.
    """

    def __init__(self, dataset: Sized, budget: float | int | str, seed: int | None = 0,
                 strategy: str = 'class_covering', shuffle: bool = True, order_seed: int | None = None,
                 unit: str = 'tile') -> None:
        if not hasattr(dataset, 'tile_names'):
            raise TypeError(f'LabelBudgetSampler needs a dataset with tile names, such as SegmentationTiles; '
                            f'{type(dataset).__name__} has none')
        if strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy '{strategy}'; there are {', '.join(STRATEGIES)}")
        if unit not in UNITS:
            raise ValueError(f"unknown unit '{unit}'; there are {', '.join(UNITS)}")
        self.budget, self.strategy, self.unit = budget, strategy, unit
        # The Runner passes None with ``diff_rank_seed=True``; the choice of tiles must not become random.
        self.seed = 0 if seed is None else int(seed)
        # Every rank chooses for itself and comes to the same: nothing is waited for in a collective, see class_pixels.
        names, pixels = list(dataset.tile_names), dataset.class_pixels()
        self.tile_names = select_tiles(names, pixels, self.budget, self.seed, strategy, dataset.sources, unit)
        print_log(self._summary(dataset, names, pixels, self.tile_names), logger='current')
        place = {name: i for i, name in enumerate(dataset.tile_names)}
        self._start_stream(sorted(place[name] for name in self.tile_names), order_seed, shuffle)

    def _summary(self, dataset: Sized, names: list[str], pixels: np.ndarray, chosen: list[str]) -> str:
        """One log line: what was chosen and which classes it holds."""
        place = {name: i for i, name in enumerate(names)}
        counts = pixels[[place[name] for name in chosen]].sum(axis=0)
        classes = dataset.metainfo.get('classes') or [str(k) for k in range(len(counts))]
        total = max(int(counts.sum()), 1)
        covered = ', '.join(f'{c} {n / total:.1%}' for c, n in zip(classes, counts) if n) or 'none'
        absent = ', '.join(c for c, n in zip(classes, counts) if not n) or 'none'
        shown = ', '.join(chosen[:10]) + (', ...' if len(chosen) > 10 else '')
        of_sources = ' of the sources' if self.unit == 'source' else ''
        return (f'Label budget {self.budget}{of_sources} (seed {self.seed}, {self.strategy}): {len(chosen)} of '
                f'{len(names)} tiles labelled: {shown}; classes covered: {covered}; not covered: {absent}')
