"""Features that lack channels: what a student is trained on besides images that are hard to recognise."""
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ['decoded', 'without_channels']


def without_channels(maps: Sequence[Tensor], share: float, seeds: Sequence[int]) -> list[Tensor]:
    """Drop whole channels, as :class:`torch.nn.Dropout2d` does; which ones follows from the seeds of the samples alone.

    Args:
        maps: Features of B images, each (B, C, h, w).
        share: Probability of a channel to be dropped, in (0, 1); the others are divided by 1 - share.
        seeds: B whole numbers.
    """
    rngs = [np.random.default_rng((int(seed), 4)) for seed in seeds]
    dropped = []
    for x in maps:
        kept = np.stack([rng.uniform(size=x.shape[1]) >= share for rng in rngs]) / (1 - share)
        factors = torch.from_numpy(kept.astype(np.float32)).to(x.device, x.dtype, non_blocking=True)
        dropped.append(x * factors[..., None, None])
    return dropped


def decoded(segmentor: nn.Module, maps: Sequence[Tensor]) -> Tensor:
    """(B, K, h, w) logits of the features that ``segmentor.extract_feat`` gives; a cascade has several heads."""
    first, *others = segmentor.decode_head if isinstance(segmentor.decode_head, nn.ModuleList) else [
        segmentor.decode_head]
    logits = first.forward(maps)
    for head in others:
        logits = head.forward(maps, logits)
    return logits
