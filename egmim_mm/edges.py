"""Edge priors: images -> edge strength in [0, 1].

Pure functions on tensors: no registry, no configuration, no gradient. The abstract of the EGMIM paper
only says that edge priors guide masking and reconstruction; operators, scales and normalisation below
are this project's choice (see docs/egmim.md).
"""
import math

import torch
from kornia.filters import gaussian_blur2d, spatial_gradient
from torch import Tensor

OPERATORS = ('gaussian_sobel', 'sobel')

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, RGB order
_TINY = 1e-6  # below this gradient (1/px) an image counts as flat: 8-bit steps are 4e-3


def luminance(images: Tensor) -> Tensor:
    """Reduce the bands to one: BT.601 luminance for three bands (RGB), the mean for any other count.

    Args:
        images (Tensor): (B, C, H, W) float.

    Returns:
        Tensor: (B, 1, H, W), same range.
    """
    if images.shape[1] == 3:
        weights = images.new_tensor(_LUMINANCE).view(1, 3, 1, 1)
        return (images * weights).sum(1, keepdim=True)
    return images.mean(1, keepdim=True)


def image_gradient(images: Tensor, sigma: float = 0.0) -> Tensor:
    """Sobel derivatives of the luminance, optionally after Gaussian smoothing.

    Args:
        images (Tensor): (B, C, H, W) float.
        sigma (float): Standard deviation of the Gaussian, px; 0 = no smoothing.

    Returns:
        Tensor: (B, 2, H, W): d/dx and d/dy per px (the Sobel kernel is divided by 8). Outside its border the
        image is mirrored for the Gaussian (without repeating the edge pixel) and continued constantly for
        the Sobel kernel, so the border itself is no edge.
    """
    gray = luminance(images)
    # autocast would convolve in bfloat16, whose 8 bits drown small gradients
    with torch.autocast(images.device.type, enabled=False):
        if sigma > 0:
            # +-3 sigma holds 99.7 % of the Gaussian; reflect padding needs an image larger than the radius
            radius = min(math.ceil(3 * sigma), min(gray.shape[-2:]) - 1)
            gray = gaussian_blur2d(gray, (2 * radius + 1, 2 * radius + 1), (sigma, sigma))
        return spatial_gradient(gray, mode='sobel', order=1, normalized=True)[:, 0]


def normalize_strength(strength: Tensor, floor: float = 0.0, quantile: float = 0.99) -> Tensor:
    """Scale a non-negative response to [0, 1] by a per-image quantile: clip(G / max(q(G), floor), 0, 1).

    Args:
        strength (Tensor): (B, 1, H, W), >= 0.
        floor (float): Smallest divisor, in units of the response. A positive floor keeps a flat image
            from having its noise amplified to full strength.
        quantile (float): The response with this rank within its image becomes 1.

    Returns:
        Tensor: (B, 1, H, W) in [0, 1]; all zero for a constant image.
    """
    strength = strength.where(strength >= _TINY, 0.0)  # rounding of the convolutions
    flat = strength.flatten(1)
    rank = max(1, math.ceil(quantile * flat.shape[1]))
    # kthvalue selects without sorting, unlike torch.quantile
    top = flat.kthvalue(rank, dim=1).values.clamp(min=max(floor, _TINY))
    return (strength / top.view(-1, 1, 1, 1)).clamp(0, 1)


@torch.no_grad()
def edge_prior(images: Tensor, operator: str = 'gaussian_sobel', floor: float = 0.0, sigma: float = 2.0) -> Tensor:
    """Edge strength of a batch of images.

    ``gaussian_sobel`` smooths with a Gaussian before the Sobel magnitude; ``sobel`` does not smooth.

    Args:
        images (Tensor): (B, C, H, W) float in [0, 1], before mean/std normalisation; RGB order when C = 3.
        operator (str): One of ``OPERATORS``.
        floor (float): Smallest gradient (1/px) that may count as full strength, see
            :func:`normalize_strength`.
        sigma (float): Standard deviation of the smoothing, px (``gaussian_sobel``).

    Returns:
        Tensor: (B, 1, H, W) in [0, 1], no gradient.

    Raises:
        ValueError: Unknown operator, or ``images`` is not a floating (B, C, H, W) tensor.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f'images must be a floating (B, C, H, W) tensor in [0, 1], '
                         f'got {tuple(images.shape)} {images.dtype}')
    if operator not in OPERATORS:
        raise ValueError(f'unknown edge operator {operator!r}; choose one of {", ".join(OPERATORS)}')
    gradient = image_gradient(images, sigma=sigma if operator == 'gaussian_sobel' else 0.0)
    return normalize_strength(gradient.square().sum(1, keepdim=True).sqrt(), floor)


@torch.no_grad()
def hog(images: Tensor, bins: int = 9, cell_size: int = 8) -> Tensor:
    """Histograms of oriented gradients, the reconstruction target of MaskFeat (Wei et al., CVPR 2022).

    Unsigned orientations in [0, pi), hard assignment weighted by gradient magnitude, L2-normalised per cell
    (no blocks).

    Args:
        images (Tensor): (B, C, H, W) float in [0, 1]; H and W divisible by ``cell_size``.
        bins (int): Orientation bins.
        cell_size (int): Cell side, px.

    Returns:
        Tensor: (B, bins, H / cell_size, W / cell_size) in [0, 1].
    """
    gradient = image_gradient(images)
    magnitude = gradient.square().sum(1, keepdim=True).sqrt()
    angle = torch.atan2(gradient[:, 1:], gradient[:, :1]) % math.pi
    index = (angle * (bins / math.pi)).long() % bins  # rounding can give angle == pi
    votes = torch.zeros(images.shape[0], bins, *images.shape[-2:], dtype=images.dtype, device=images.device)
    votes.scatter_(1, index, magnitude)
    cells = torch.nn.functional.avg_pool2d(votes, cell_size)
    # a cell whose mean gradient is under one 8-bit step holds noise: the eps keeps its target small
    return torch.nn.functional.normalize(cells, dim=1, eps=1 / 255)
