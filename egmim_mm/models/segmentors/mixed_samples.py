"""Batches of labelled and unlabelled samples."""
from collections.abc import Sequence

import torch
from mmengine import dist
from mmseg.structures import SegDataSample
from torch import Tensor

__all__ = ['both_kinds', 'mean_pixels', 'valid_pixels']


def both_kinds(samples: Sequence[SegDataSample]) -> tuple[list[int], list[int]]:
    """Places of the labelled samples, and of those with ``unlabelled`` in their meta data.

    Raises:
        ValueError: All are of one kind.
    """
    flags = [sample.metainfo.get('unlabelled', False) for sample in samples]
    if all(flags) or not any(flags):
        raise ValueError(f'the batch has no {"labelled" if all(flags) else "unlabelled"} image: set '
                         "train_dataloader.sampler.type='egmim_mm.MixedLabelBudgetSampler'")
    labelled, unlabelled = ([place for place, flag in enumerate(flags) if flag == kind] for kind in (False, True))
    return labelled, unlabelled


def valid_pixels(samples: Sequence[SegDataSample], images: Tensor) -> Tensor:
    """(B, 1, H, W) bool: pixels that hold data; of samples without ``valid`` all."""
    full = torch.ones_like(images[0, :1], dtype=torch.bool)
    return torch.stack([sample.valid.data if 'valid' in sample else full for sample in samples])


def mean_pixels(parts: Sequence[Tensor]) -> Tensor:
    """Scalar float32: how many pixels of a part are True, the mean over parts and processes, at least 1.

    The average over parts and processes of sums divided by it is the mean over the pixels of all.
    """
    count = torch.stack([part.sum() for part in parts]).float().mean()
    dist.all_reduce(count, 'mean')
    return count.clamp(min=1)
