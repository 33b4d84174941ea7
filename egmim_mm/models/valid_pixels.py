"""Which pixels of a batch hold data: by a no-data value, and by masks that the pipeline packed."""
import math
from collections.abc import Sequence

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor


def nodata_tensor(nodata: dict, bands: int) -> Tensor:
    """``dict(value=V)``, V a number or one per band -> (1 or bands, 1, 1) float.

    Raises:
        ValueError: Anything else, or a value that is not finite.
    """
    value = nodata.get('value') if set(nodata) == {'value'} else None
    values = value if isinstance(value, (list, tuple)) else [value]
    if len(values) not in (1, bands) or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
        raise ValueError(f'nodata must be dict(value=V), V a number or one per band ({bands}), got {dict(nodata)}')
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def holds_data(pixels: Tensor, value: Tensor) -> Tensor:
    """Raw pixels (B, C, H, W) -> (B, 1, H, W) bool; False where every band has its no-data value."""
    # half a unit: pixels are what is left after mean/std and back
    return ((pixels - value).abs() >= 0.5).any(1, keepdim=True)


def packed_valid(data_samples: Sequence[DataSample] | None, images: Tensor) -> Tensor | None:
    """Fields ``valid`` of the samples, (H, W) bool, NumPy or torch -> (B, 1, H, W) bool on the device of ``images``.

    None when no sample has one; a sample without it holds data everywhere.

    Raises:
        ValueError: A field of another size than its image.
    """
    size = tuple(images.shape[-2:])
    fields = [sample.get('valid') for sample in data_samples or ()]
    if all(field is None for field in fields):
        return None
    for field in fields:
        if field is not None and tuple(field.shape) != size:
            raise ValueError(f'data sample field valid is {tuple(field.shape)}, its image {size}: every geometric '
                             'transform must treat both alike')
    # packed arrays are not tensors, so the data preprocessor leaves them on the CPU
    masks = [torch.ones(size, dtype=torch.bool) if field is None else _as_mask(field) for field in fields]
    return torch.stack(masks).unsqueeze(1).to(images.device)


def _as_mask(field: np.ndarray | Tensor) -> Tensor:
    # a mirrored NumPy array has negative strides, which torch does not take
    return torch.as_tensor(field if isinstance(field, Tensor) else np.ascontiguousarray(field)).bool().cpu()
