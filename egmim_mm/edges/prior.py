"""Edge priors: images -> edge strength in [0, 1].

Pure functions on tensors: no registry, no configuration, no gradient. The abstract of the EGMIM paper
only says that edge priors guide masking and reconstruction; operators, scales and normalisation below
are this project's choice (see docs/egmim.md).
"""
import math

import torch
from torch import Tensor

from .operators import RESPONSES, TINY, image_gradient, image_quantile, luminance, operator_options, supported

__all__ = ['edge_prior', 'edge_response', 'hog', 'normalize_strength']

_WHITE = {torch.uint8: 255, torch.uint16: 65535}


@torch.no_grad()
def edge_response(images: Tensor, operator: str = 'gaussian_sobel', valid: Tensor | None = None, **options) -> Tensor:
    """Edge response before normalisation, in luminance per px (luminance in [0, 1]).

    ==================== ==================================== ==============================================
    operator             response                             options and defaults
    ==================== ==================================== ==============================================
    ``gaussian_sobel``   Sobel magnitude                      ``sigma=2``
    ``sobel``            Sobel magnitude                      none
    ``scharr``           Scharr magnitude                     ``sigma=0``
    ``laplacian``        absolute 5-point Laplacian (1/px^2)  ``sigma=2``
    ``canny``            Sobel magnitude on Canny's edges,    ``sigma=2``; ``low=0.1``, ``high=0.2``: shares
                         blurred                              of the image's q99 of the Sobel magnitude;
                                                              ``rho=1``: the Gaussian over the edges
    ``structure_tensor`` sqrt(trace J) x coherence            ``sigma=1``, ``rho=3``: the Gaussian over
                                                              products of derivatives
    ==================== ==================================== ==============================================

    ``sigma`` is the Gaussian before the derivative, px; 0 = none. J is the structure tensor (Foerstner & Guelch
    1987; Bigun & Granlund 1987) with eigenvalues l1 >= l2, trace J = l1 + l2 and coherence (l1 - l2) / (l1 + l2):
    1 at a straight edge, near 0 in texture and at corners. Canny's edges are lines of one pixel that keep their
    strength, which tells class boundaries better than a binary map; see :func:`egmim_mm.edges.canny.thin` and
    :func:`egmim_mm.edges.canny.hysteresis`. Borders: :mod:`egmim_mm.edges.operators`.

    Args:
        images: (B, C, H, W) float in [0, 1], uint8 (0..255) or uint16 (0..65535); RGB order when C = 3.
        operator: One of ``OPERATORS``.
        valid: (B, 1, H, W) bool: pixels that hold data; the values of others do not matter.
        options: Of the operator.

    Returns:
        (B, 1, H, W) float32 (float64 for such images), >= 0, no gradient; 0 where :func:`supported` is False.

    Raises:
        ValueError: Unknown operator or option, a bad value, or ``images`` or ``valid`` of a wrong kind.
    """
    return _respond(images, operator, valid, **options)[0]


def _respond(images: Tensor, operator: str, valid: Tensor | None, **options) -> tuple[Tensor, Tensor | None]:
    """Response, and the pixels that count (None = all)."""
    options = operator_options(operator, **options)
    gray, counted = luminance(_unit_range(images)), None
    if valid is not None:
        if valid.dtype != torch.bool or valid.shape != gray.shape:
            raise ValueError(f'valid must be a bool {tuple(gray.shape)} tensor, got {valid.dtype} {tuple(valid.shape)}')
        gray, counted = gray.where(valid, 0.0), supported(valid, operator, **options)  # no-data may be NaN
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 drowns small gradients
        response = RESPONSES[operator](gray, valid, **options)
    return response if counted is None else response.where(counted, 0.0), counted


def _unit_range(images: Tensor) -> Tensor:
    """Images as float32 (or float64) in [0, 1]."""
    white = _WHITE.get(images.dtype)
    if images.ndim != 4 or white is None and not images.is_floating_point():
        raise ValueError('images must be a floating (B, C, H, W) tensor in [0, 1], or one of uint8 or uint16, '
                         f'got {tuple(images.shape)} {images.dtype}')
    if white:
        return images.to(torch.int32).float() / white  # few operations take uint16
    return images if images.dtype == torch.float64 else images.float()


def normalize_strength(strength: Tensor, floor: float = 0.0, quantile: float = 0.99,
                       valid: Tensor | None = None) -> Tensor:
    """Scale a non-negative response to [0, 1] by a per-image quantile: clip(G / max(q(G), floor), 0, 1).

    Args:
        strength: (B, 1, H, W), >= 0.
        floor: Smallest divisor, in units of the response. A positive floor keeps a flat image
            from having its noise amplified to full strength.
        quantile: The response with this rank within its image becomes 1.
        valid: (B, 1, H, W) bool. The others get 0 and do not count for the quantile.

    Returns:
        (B, 1, H, W) in [0, 1]; all zero for a constant image.
    """
    strength = strength.where(strength >= TINY, 0.0)  # rounding of the convolutions
    top = image_quantile(strength, quantile, valid).clamp(min=max(floor, TINY))
    scaled = (strength / top).clamp(0, 1)
    return scaled if valid is None else scaled.where(valid, 0.0)


@torch.no_grad()
def edge_prior(images: Tensor, operator: str = 'gaussian_sobel', floor: float = 0.0, valid: Tensor | None = None,
               **options) -> Tensor:
    """Edge strength of a batch of images: :func:`edge_response` after :func:`normalize_strength`.

    Args:
        images: (B, C, H, W) float in [0, 1], uint8 or uint16, before mean/std normalisation; RGB order
            when C = 3.
        operator: One of ``OPERATORS``.
        floor: Smallest response that may count as full strength.
        valid: (B, 1, H, W) bool: pixels that hold data. The others, and those whose filters
            reach one of them, get 0 and do not count for the quantile.
        options: Of the operator, see :func:`edge_response`.

    Returns:
        (B, 1, H, W) in [0, 1], no gradient.

    Raises:
        ValueError: As :func:`edge_response`.
    """
    response, counted = _respond(images, operator, valid, **options)
    return normalize_strength(response, floor, valid=counted)


@torch.no_grad()
def hog(images: Tensor, bins: int = 9, cell_size: int = 8) -> Tensor:
    """Histograms of oriented gradients, the reconstruction target of MaskFeat (Wei et al., CVPR 2022).

    Unsigned orientations in [0, pi), hard assignment weighted by gradient magnitude, L2-normalised per cell
    (no blocks).

    Args:
        images: (B, C, H, W) float in [0, 1]; H and W divisible by ``cell_size``.
        bins: Orientation bins.
        cell_size: Cell side, px.

    Returns:
        (B, bins, H / cell_size, W / cell_size) in [0, 1].
    """
    gradient = image_gradient(images)
    batch, _, height, width = gradient.shape
    grid = (batch, height // cell_size, cell_size, width // cell_size, cell_size)
    angle = torch.atan2(gradient[:, 1], gradient[:, 0]) % math.pi
    index = (angle * (bins / math.pi)).long() % bins  # rounding can give angle == pi
    cell = torch.arange(batch * grid[1] * grid[3], device=images.device).view(batch, grid[1], 1, grid[3], 1)
    votes = gradient.new_zeros(cell.numel() * bins)
    votes.scatter_add_(0, (index.view(grid) + bins * cell).flatten(), gradient.square().sum(1).sqrt().flatten())
    cells = votes.view(batch, grid[1], grid[3], bins).permute(0, 3, 1, 2) / cell_size**2
    # a cell whose mean gradient is under one 8-bit step holds noise: the eps keeps its target small
    return torch.nn.functional.normalize(cells, dim=1, eps=1 / 255)
