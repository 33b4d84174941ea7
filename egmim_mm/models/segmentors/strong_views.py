"""Images that are hard to recognise, of the same scene: what a student is trained on."""
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from egmim_mm.batch_augmentation import BatchAugmentation

__all__ = ['StrongViews']


class StrongViews:
    """Changes of colour, grey images, blur, and mixtures of two images; what happens follows from the seeds alone.

    Strengths follow UniMatch (Yang et al., CVPR 2023), but the hue, which tells land cover apart, changes less.

    Args:
        color: Change the colours of three-band images, see :class:`~egmim_mm.batch_augmentation.BatchAugmentation`.
        grey: Share of the three-band images that lose their colour.
        blur: Share of the images that are blurred.
        sigma: Range of the standard deviation of the Gaussian, px.
        cutmix: Share of the images that get a rectangle of the other of their pair.
        classmix: Share of the images that get classes of the other of their pair.
        options: ``brightness``, ``contrast``, ``saturation`` and ``hue`` of BatchAugmentation.

    Raises:
        ValueError: A share outside 0..1, or a sigma that is none.
        TypeError: Any other option.
    """

    def __init__(self, color: bool = True, grey: float = 0.2, blur: float = 0.5, sigma: Sequence[float] = (0.1, 2.0),
                 cutmix: float = 0.5, classmix: float = 0.0, **options: Any) -> None:
        if not 0 <= grey <= 1 or not 0 <= blur <= 1:
            raise ValueError(f'model.strong: grey={grey} and blur={blur} are shares of the images, in 0..1')
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f'model.strong.sigma={tuple(sigma)} must be (smallest, largest), px, both above 0')
        self.color, self.grey, self.blur, self.sigma = color, grey, blur, tuple(sigma)
        self.augmentation = BatchAugmentation(flip=False, turn=False, color=True, cutmix=cutmix, classmix=classmix,
                                              **options)
        self.colors = BatchAugmentation(flip=False, turn=False, color=True, **options)

    def recolored(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """(B, C, H, W) in 0..255 -> the same, float32."""
        draws = [np.random.default_rng((int(seed), 3)).uniform(size=3) for seed in seeds]
        grey, blurred, place = torch.tensor(np.array(draws), dtype=torch.float32, device=images.device).unbind(1)
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            if images.shape[1] == 3:
                images = self.colors(images, None, seeds)[0] if self.color else images
                images = torch.where((grey < self.grey).view(-1, 1, 1, 1), images.mean(1, keepdim=True), images)
            if self.blur:
                sigma = self.sigma[0] + place * (self.sigma[1] - self.sigma[0])
                smooth = gaussian_blur2d(images, 2 * math.ceil(3 * self.sigma[1]) + 1, sigma[:, None].expand(-1, 2))
                images = torch.where((blurred < self.blur).view(-1, 1, 1, 1), smooth, images)
        return images

    def mixed(self, seeds: Sequence[int], labels: Tensor, *maps: Tensor) -> list[Tensor]:
        """Labels (B, 1, H, W), 255 = none, and further maps of the same images, all mixed alike, two by two."""
        return self.augmentation.mix(seeds, labels, *maps, pairs=True)
