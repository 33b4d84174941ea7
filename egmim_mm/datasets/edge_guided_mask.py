"""The mask generator as a transform of one sample, for algorithms that take their mask from the data."""
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.edges import edge_prior
from egmim_mm.masking import sample_mask
from egmim_mm.registry import TRANSFORMS

__all__ = ['EdgeGuidedMask']


@TRANSFORMS.register_module()
class EdgeGuidedMask(BaseTransform):
    """Edge-guided token mask of one image: gives mmpretrain's stock ``SimMIM`` what EGMIM's mask generator draws.

    It takes the place of ``SimMIMMaskGenerator``, before ``PackInputs``. Randomness comes from torch's CPU generator,
    which this package's data sets seed by sample and MMEngine's loaders seed by worker. A loader does not know how
    far training is, so ``progress`` is fixed.

    **Required Keys:**

    - img ((H, W, C) uint8, 0..255; BGR when C = 3)
    - valid ((H, W) bool, optional): True = the pixel holds data.

    **Added Keys:**

    - mask (np.int64, (H / token_size, W / token_size)): 1 = hidden.

    Args:
        edge_prior: Options of :func:`egmim_mm.edges.edge_prior`; the floor is that of ``EdgePrior``.
        **options: Arguments of :func:`egmim_mm.masking.sample_mask`: ``policy``, ``ratio``, ``cell_size``,
            ``progress``, ...

    Raises:
        ValueError: At the first image, if its sides do not divide into cells.
    """

    def __init__(self, edge_prior: dict = dict(operator='gaussian_sobel', floor=0.5 / 255), **options: Any) -> None:
        self.edge_prior = dict(edge_prior)
        self.options = options

    def transform(self, results: dict) -> dict:
        image = swap_rgb_bgr(results['img'])
        images = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]  # (1, C, H, W)
        valid = results.get('valid')
        if valid is not None:
            valid = torch.from_numpy(np.ascontiguousarray(valid))[None, None]
        edge = edge_prior(images, valid=valid, **self.edge_prior)
        results['mask'] = sample_mask(edge, valid=valid, **self.options)[0].long().numpy()
        return results
