"""Edges between places that a network takes for different things: feature maps -> response. Pure functions."""
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['feature_response', 'supported_places']


def supported_places(valid: Tensor, stride: int) -> Tensor:
    """Pixels of the tokens that hold data alone, as do the eight around them.

    What a network makes of a token may depend on pixels farther away; those are not looked at.

    Args:
        valid: (B, 1, H, W) bool: pixels that hold data.
        stride: Side of a token, px.

    Returns:
        (B, 1, H, W) bool.
    """
    missing = F.max_pool2d(F.max_pool2d((~valid).float(), stride), 3, stride=1, padding=1)
    return F.interpolate(missing, size=valid.shape[-2:], mode='nearest') == 0


@torch.no_grad()
def feature_response(features: Tensor, size: tuple[int, int], valid: Tensor | None = None) -> Tensor:
    """How much neighbouring features differ, in every pixel.

    With features of length 1, d_ij the distance of those of neighbours i and j (0 = alike, 2 = opposite), a token has

        ``G_i = sqrt(mean of d_ij^2 over its neighbours in the row + the same of those in the column)``,

    as a gradient's magnitude is made of two derivatives; bilinear to pixels.

    Args:
        features: (B, D, h, w) float of any precision.
        size: (H, W) of the image, px, multiples of (h, w).
        valid: (B, 1, H, W) bool: pixels that hold data. Tokens without data alone are nobody's neighbours.

    Returns:
        (B, 1, H, W) float32, >= 0; 0 where :func:`supported_places` is False.
    """
    with torch.autocast(features.device.type, enabled=False):
        unit = F.normalize(features.float(), dim=1)
        data = unit.new_ones(len(unit), 1, *unit.shape[-2:])
        if valid is not None:
            data = 1 - F.max_pool2d((~valid).float(), size[0] // unit.shape[-2])
        energy = torch.zeros_like(data)
        for dim in (2, 3):
            steps = unit.shape[dim] - 1
            pairs = data.narrow(dim, 0, steps) * data.narrow(dim, 1, steps)
            apart = (unit.narrow(dim, 1, steps) - unit.narrow(dim, 0, steps)).square().sum(1, keepdim=True)
            energy += _both_sides(apart * pairs, dim) / _both_sides(pairs, dim).clamp(min=1)
        response = F.interpolate(energy.sqrt(), size=size, mode='bilinear')
    if valid is None:
        return response
    return response.where(supported_places(valid, size[0] // features.shape[-2]), 0.0)


def _both_sides(pairs: Tensor, dim: int) -> Tensor:
    """Values of pairs along ``dim`` -> their sum at each of the two places; one longer along ``dim``."""
    before, after = ((1, 0, 0, 0), (0, 1, 0, 0)) if dim == 3 else ((0, 0, 1, 0), (0, 0, 0, 1))
    return F.pad(pairs, before) + F.pad(pairs, after)
