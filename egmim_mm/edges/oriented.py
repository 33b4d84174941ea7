"""Oriented edges at several scales: what shallow stages learn to predict. Pure functions of tensors."""
from collections.abc import Sequence

import torch
from torch import Tensor

from .operators import TINY, luminance, structure_tensor, supported
from .prior import normalize_strength

__all__ = ['oriented_edges']


@torch.no_grad()
def oriented_edges(images: Tensor, rhos: Sequence[float] = (2.0, 6.0), sigma: float = 1.0, floor: float = 0.0,
                   valid: Tensor | None = None) -> Tensor:
    """Strength, and strength x coherence x (cos 2t, sin 2t) of the structure tensor at each scale.

    t is the direction of the gradient; doubled, so that both signs of a gradient are one orientation. Strength is the
    square root of the trace, normalised as the edge prior (:func:`egmim_mm.edges.normalize_strength`).

    Args:
        images: (B, C, H, W) float in [0, 1]; RGB order when C = 3.
        rhos: Scales: the Gaussians over products of derivatives, px.
        sigma: The Gaussian before the derivatives, px.
        floor: Smallest strength that may count as 1, luminance per px.
        valid: (B, 1, H, W) bool: pixels that hold data.

    Returns:
        (B, 3 scales, H, W) float32; the first of three channels in [0, 1], the others in [-1, 1]; 0 where the filters
        reach a pixel without data.
    """
    gray, maps = luminance(images.float()), []
    if valid is not None:
        gray = gray.where(valid, 0.0)  # no-data may be NaN
    for rho in rhos:
        xx, xy, yy = structure_tensor(gray, sigma, rho)
        counted = None if valid is None else supported(valid, 'structure_tensor', sigma=sigma, rho=rho)
        energy = (xx + yy).clamp(min=0)
        strength = normalize_strength(energy.sqrt(), floor, valid=counted)
        per_energy = strength / energy.clamp(min=TINY**2)
        maps += [strength, per_energy * (xx - yy), per_energy * 2 * xy]
    return torch.cat(maps, 1)
