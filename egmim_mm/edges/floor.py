"""The floor of the edge prior that follows from imagery: pure functions of tensors."""
import torch
from torch import Tensor

from .operators import TINY, image_quantile, supported
from .prior import edge_response

__all__ = ['floor_of', 'top_responses']


def top_responses(images: Tensor, operator: str = 'gaussian_sobel', valid: Tensor | None = None, **options) -> Tensor:
    """q99 of the edge response before normalisation: what an image's strongest edges are divided by without a floor.

    Args:
        images: (B, C, H, W) float in [0, 1], uint8 or uint16.
        operator: One of ``OPERATORS``.
        valid: (B, 1, H, W) bool: pixels that hold data; others do not count.
        options: Of the operator, see :func:`~egmim_mm.edges.edge_response`.

    Returns:
        (B,) in luminance per px; 0 for an image without data or structure.
    """
    counted = None if valid is None else supported(valid, operator, **options)
    return image_quantile(edge_response(images, operator, valid, **options), valid=counted).flatten()


def floor_of(values: Tensor, percentile: float = 5.0) -> float:
    """The floor below which lie ``percentile`` % of the values of :func:`top_responses`.

    So the flattest windows of a data set are not amplified until their noise is edges of full strength. Windows without
    any structure (no-data areas) do not count.

    Args:
        values: (N,).
        percentile: In [0, 100].

    Returns:
        Luminance per px, interpolated linearly between two values.

    Raises:
        ValueError: ``percentile`` out of range, or no window has any structure.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f'percentile = {percentile} must lie in [0, 100]')
    counted = values[values >= TINY].double()
    if not len(counted):
        raise ValueError(f'none of the {len(values)} windows has any structure: are the images constant?')
    return float(torch.quantile(counted, percentile / 100))
