"""Edge operators: luminance -> response. Pure functions on tensors; :mod:`egmim_mm.edges` checks and normalises.

Gaussians are cut off at 3 sigma and see the image mirrored at its border (without repeating the edge pixel);
3 x 3 kernels see it continued constantly, so the border itself is no edge. All derivatives are per px.
"""
import math

import torch
import torch.nn.functional as F
from kornia.filters import filter2d, spatial_gradient
from torch import Tensor

from .canny import hysteresis, thin

__all__ = ['OPERATORS', 'RESPONSES', 'TINY', 'image_gradient', 'image_quantile', 'luminance', 'operator_options',
           'structure_tensor', 'supported']

# operator -> its options and their defaults
_OPTIONS = dict(
    gaussian_sobel=dict(sigma=2.0),
    sobel=dict(),
    scharr=dict(sigma=0.0),
    laplacian=dict(sigma=2.0),
    canny=dict(sigma=2.0, low=0.1, high=0.2, rho=1.0),
    structure_tensor=dict(sigma=1.0, rho=3.0))
OPERATORS = tuple(_OPTIONS)

TINY = 1e-6  # below this gradient (1/px) an image counts as flat: 8-bit steps are 4e-3
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, RGB order


def operator_options(operator: str, **options) -> dict[str, float]:
    """Options of an operator, with the defaults of those that are not given.

    Raises:
        ValueError: Unknown operator, an option it does not have, or a value out of range.
    """
    if operator not in OPERATORS:
        raise ValueError(f'unknown edge operator {operator!r}; choose one of {", ".join(OPERATORS)}')
    known = _OPTIONS[operator]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f'edge operator {operator!r} has no option {", ".join(map(repr, unknown))}; '
                         f'its options are: {", ".join(known) or "none"}')
    options = known | options
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ValueError(f'edge operator {operator!r}: {name} = {value!r} must be a number, 0 or more')
    if operator == 'canny' and not options['low'] <= options['high'] <= 1:
        raise ValueError(f"edge operator 'canny': low = {options['low']} and high = {options['high']} must be "
                         'ordered and at most 1')
    return options


def luminance(images: Tensor) -> Tensor:
    """Reduce the bands to one: BT.601 luminance for three bands (RGB), the mean for any other count.

    Args:
        images: (B, C, H, W) float.

    Returns:
        (B, 1, H, W), same range.
    """
    if images.shape[1] == 3:
        red, green, blue = images.split(1, dim=1)
        # no tensor of weights: copying it to a GPU would wait for the step before
        return (red * _LUMINANCE[0]).add_(green, alpha=_LUMINANCE[1]).add_(blue, alpha=_LUMINANCE[2])
    return images.mean(1, keepdim=True)


def image_gradient(images: Tensor, sigma: float = 0.0) -> Tensor:
    """Sobel derivatives of the luminance, optionally after Gaussian smoothing.

    Args:
        images: (B, C, H, W) float.
        sigma: Standard deviation of the Gaussian, px; 0 = no smoothing.

    Returns:
        (B, 2, H, W): d/dx and d/dy per px (the Sobel kernel is divided by 8).
    """
    padded = F.pad(_smooth(luminance(images), sigma), (1, 1, 1, 1), mode='replicate')
    across_y = (padded[..., :-2, :] + padded[..., 2:, :]).add_(padded[..., 1:-1, :], alpha=2)  # [1, 2, 1]
    across_x = (padded[..., :-2] + padded[..., 2:]).add_(padded[..., 1:-1], alpha=2)
    dx, dy = across_y[..., 2:] - across_y[..., :-2], across_x[..., 2:, :] - across_x[..., :-2, :]
    return torch.cat([dx, dy], 1).div_(8)


def image_quantile(values: Tensor, quantile: float = 0.99, valid: Tensor | None = None) -> Tensor:
    """The value of rank ceil(quantile x count) in each image: an exact element, no interpolation.

    Args:
        values: (B, 1, H, W) float.
        quantile: In (0, 1].
        valid: (B, 1, H, W) bool: pixels that count.

    Returns:
        (B, 1, 1, 1); 0 for an image without valid pixels.
    """
    flat = values.flatten(1)
    above = flat.shape[1] - max(1, math.ceil(quantile * flat.shape[1]))  # as many are larger
    if valid is None:  # only the largest are sorted, unlike torch.quantile
        return flat.topk(above + 1, dim=1).values[:, -1].view(-1, 1, 1, 1)
    counted = valid.flatten(1)
    count = counted.sum(1, keepdim=True)
    rank = (quantile * count.double()).ceil().long().clamp(min=1)
    # one more than are needed: the product above may be rounded the other way than that below
    largest = flat.where(counted, -torch.inf).topk(min(above + 2, flat.shape[1]), dim=1).values
    return largest.gather(1, (count - rank).clamp(min=0)).where(count > 0, 0.0).view(-1, 1, 1, 1)


def supported(valid: Tensor, operator: str = 'gaussian_sobel', **options) -> Tensor:
    """Pixels whose response depends on valid pixels only.

    Args:
        valid: (B, 1, H, W) bool: pixels that hold data.
        operator (str), options: As for :func:`egmim_mm.edges.edge_response`.

    Returns:
        (B, 1, H, W) bool: ``valid`` without a margin as wide as the operator's filters reach.
    """
    options = operator_options(operator, **options)
    blurs = sum(_radius(options.get(name, 0.0), valid.shape[-2:]) for name in ('sigma', 'rho'))
    return _erode(valid, 1 + blurs + (operator == 'canny'))  # thinning looks one pixel further


def _erode(valid: Tensor, reach: int) -> Tensor:
    """Pixels with valid ones alone within ``reach`` px, rows and columns one after the other."""
    missing = (~valid).float()
    for kernel, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        missing = F.max_pool2d(missing, kernel, stride=1, padding=padding)
    return missing == 0


def _radius(sigma: float, size: torch.Size) -> int:
    # +-3 sigma holds 99.7 % of the Gaussian; reflect padding needs an image larger than the radius
    return min(math.ceil(3 * sigma), min(size) - 1)


def _smooth(gray: Tensor, sigma: float) -> Tensor:
    if sigma == 0:
        return gray
    radius = _radius(sigma, gray.shape[-2:])
    weights = [math.exp(-0.5 * (i / sigma)**2) for i in range(radius + 1)]
    total = 2 * sum(weights) - weights[0]
    # sums of shifted images: several times faster than a convolution of one channel, and on a GPU never in TF32
    for dim, padding in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded, size = F.pad(gray, padding, mode='reflect'), gray.shape[dim]
        gray = padded.narrow(dim, radius, size) * (weights[0] / total)
        for i in range(1, radius + 1):
            pair = padded.narrow(dim, radius - i, size) + padded.narrow(dim, radius + i, size)
            gray.add_(pair, alpha=weights[i] / total)
    return gray


def _magnitude(gradient: Tensor) -> Tensor:
    return gradient.square().sum(1, keepdim=True).sqrt()


def _sobel(gray: Tensor, valid: Tensor | None, sigma: float = 0.0) -> Tensor:
    return _magnitude(image_gradient(gray, sigma))


def _scharr(gray: Tensor, valid: Tensor | None, sigma: float) -> Tensor:
    across = gray.new_tensor([3, 10, 3]).div(16).outer(gray.new_tensor([-1, 0, 1]).div(2))
    smooth = _smooth(gray, sigma)
    return _magnitude(torch.cat([filter2d(smooth, kernel[None], 'replicate') for kernel in (across, across.T)], 1))


def _laplacian(gray: Tensor, valid: Tensor | None, sigma: float) -> Tensor:
    # kornia.filters.laplacian has the 8-neighbour kernel, about three times the Laplacian
    second = spatial_gradient(_smooth(gray, sigma), mode='diff', order=2, normalized=False)[:, 0]
    return (second[:, :1] + second[:, 2:]).abs()


def structure_tensor(gray: Tensor, sigma: float, rho: float) -> tuple[Tensor, Tensor, Tensor]:
    """Products of derivatives, xx, xy and yy, averaged by a Gaussian (Foerstner & Guelch 1987).

    Args:
        gray: (B, 1, H, W) float.
        sigma: Of the Gaussian before the derivatives, px.
        rho: Of that over their products, px.

    Returns:
        Three of (B, 1, H, W), per px^2.
    """
    dx, dy = image_gradient(gray, sigma).split(1, dim=1)
    return _smooth(torch.cat([dx * dx, dx * dy, dy * dy], 1), rho).split(1, dim=1)


def _structure_tensor(gray: Tensor, valid: Tensor | None, sigma: float, rho: float) -> Tensor:
    xx, xy, yy = structure_tensor(gray, sigma, rho)
    energy = xx + yy
    coherence = ((xx - yy).square() + 4 * xy.square()).sqrt() / energy.clamp(min=TINY**2)
    return energy.sqrt() * coherence.clamp(max=1)


def _canny(gray: Tensor, valid: Tensor | None, sigma: float, low: float, high: float, rho: float) -> Tensor:
    gradient = image_gradient(gray, sigma)
    magnitude, ridges = _magnitude(gradient), thin(gradient)
    if valid is not None:  # before tracking, which would carry the outline of a hole far into the image
        valid = _erode(valid, 2 + _radius(sigma, gray.shape[-2:]))
        ridges = ridges & valid
    top = image_quantile(magnitude, valid=valid).clamp(min=TINY)
    edges = hysteresis(ridges & (magnitude >= low * top), magnitude >= high * top)
    return _smooth(magnitude.where(edges, 0.0), rho)


# (B, 1, H, W) luminance, pixels with data, options -> (B, 1, H, W) response
RESPONSES = dict(gaussian_sobel=_sobel, sobel=_sobel, scharr=_scharr, laplacian=_laplacian, canny=_canny,
                 structure_tensor=_structure_tensor)
