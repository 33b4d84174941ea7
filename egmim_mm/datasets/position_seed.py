"""Sample indices that carry a seed, so that augmentation depends on the stream position alone.

The samplers of this package yield ``SampleIndex`` objects; the datasets seed the global generators
from ``.seed`` before they run the pipeline. A sample is then a pure function of (sampler seed, stream
position), whatever the number of workers and ranks, and an interrupted run resumes exactly.
"""
import hashlib
import random
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

__all__ = ['SampleIndex', 'SeededByPosition', 'mix_seed', 'seed_generators']


class SampleIndex(int):
    """A dataset index with the seed of its position in the sampler's stream.

    Args:
        index: Dataset index, >= 0.
        seed: Seed of the sample's augmentation, in [0, 2**32).
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SampleIndex':
        self = super().__new__(cls, index)
        self.seed = int(seed)
        return self

    def __reduce__(self) -> tuple:
        return type(self), (int(self), self.seed)


def mix_seed(*parts: Any) -> int:
    """Hash any values with a stable ``str`` into one seed in [0, 2**32), the same on every machine."""
    text = '\x1f'.join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), 'little')


def seed_generators(seed: int) -> None:
    """Seed python's, NumPy's and torch's CPU generator of this process; ``seed`` in [0, 2**32)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


class SeededByPosition:
    """Dataset mixin (before the dataset class): seeds the pipeline from ``SampleIndex.seed``.

    A plain ``int`` index leaves the generators alone, as in every other dataset.
    """

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on sample ``idx``; see the base class.

        A packed sample keeps the seed as ``sample_seed`` in its meta data, for what is augmented on the device.
        """
        if not isinstance(idx, SampleIndex):
            return super().prepare_data(idx)
        seed_generators(idx.seed)
        # A plain int goes on: the index ends up in the meta data of the sample.
        packed = super().prepare_data(int(idx))
        if isinstance(packed, dict) and isinstance(packed.get('data_samples'), BaseDataElement):
            packed['data_samples'].set_metainfo(dict(sample_seed=idx.seed))
        return packed
