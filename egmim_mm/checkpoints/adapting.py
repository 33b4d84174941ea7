"""Weights whose shape depends on the window or on the input bands -> the shape that a model needs."""
import math

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_table(table: Tensor, length: int) -> Tensor:
    """Relative position table ((2w - 1)^2, heads) of one window -> ((2v - 1)^2 = length, heads), bicubic."""
    old, new = round(table.shape[0]**0.5), round(length**0.5)
    grid = table.T.reshape(1, -1, old, old)
    return F.interpolate(grid, size=(new, new), mode='bicubic', align_corners=False).reshape(-1, length).T.contiguous()


def is_square_table(table: Tensor, heads: int) -> bool:
    """Whether a tensor is a table of a square window for that many heads."""
    return table.ndim == 2 and table.shape[1] == heads and math.isqrt(len(table))**2 == len(table) > 0


def adapt_bands(weight: Tensor, bands: int) -> Tensor:
    """Patch embedding (D, B, p, p) -> (D, bands, p, p) with the same sum over the bands.

    More bands: the first B keep their weights, each further one gets their mean, and all are scaled by B / bands.
    Fewer: which of the old bands they are is unknown, so each gets the mean, scaled likewise.
    """
    old = weight.shape[1]
    mean = weight.mean(1, keepdim=True)
    if bands < old:
        return mean.repeat(1, bands, 1, 1) * (old / bands)
    return torch.cat([weight, mean.repeat(1, bands - old, 1, 1)], 1) * (old / bands)


def differs_in_bands(weight: Tensor, parameter: Tensor) -> bool:
    """Whether two patch embeddings agree in all but the number of input bands."""
    return (weight.ndim == 4 and weight.shape[0] == parameter.shape[0] and weight.shape[2:] == parameter.shape[2:]
            and 0 < weight.shape[1] != parameter.shape[1])
