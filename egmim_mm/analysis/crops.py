"""Network-sized windows of large labelled tiles, each pixel exactly once."""
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from egmim_mm.readout.cells import IGNORE, labelled_windows


def cut(image: torch.Tensor, label: torch.Tensor, crop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a tile into windows that hold each labelled pixel once.

    Where the last window overlaps the one before it, its labels are 255; where a tile is smaller than the window, the
    image is padded with zeros (the mean colour, after standardising) and the label with 255.

    Args:
        image: (C, H, W) float32, standardised.
        label: (H, W) uint8.
        crop: Side of the windows in pixels.

    Returns:
        (N, C, crop, crop) images and (N, crop, crop) labels.
    """
    height, width = label.shape
    pad = (0, max(crop - width, 0), 0, max(crop - height, 0))
    image, label = F.pad(image, pad), F.pad(label, pad, value=IGNORE)
    places, labels = zip(*labelled_windows(label, crop))
    return torch.stack([image[:, rows, columns] for rows, columns in places]), torch.stack(labels)


def crop_batches(dataset: Iterable, preprocess: Callable[[np.ndarray], torch.Tensor], crop: int,
                 batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Windows of all tiles of a data set, in batches of one size (the last may be smaller).

    Args:
        dataset: Yields (image (H, W, C) uint8, label (H, W) integer) pairs.
        preprocess: Turns the image into a standardised (C, H, W) float32 tensor.
        crop: Side of the windows in pixels.
        batch_size: Windows in a batch.

    Yields:
        (B, C, crop, crop) float32 and (B, crop, crop) uint8.
    """
    images, labels = [], []
    for image, label in dataset:
        windows = cut(preprocess(image), torch.from_numpy(np.array(label, dtype=np.uint8)), crop)
        for window, target in zip(*windows):
            if (target == 255).all():  # nothing to learn from or to test on
                continue
            images.append(window)
            labels.append(target)
            if len(images) == batch_size:
                yield torch.stack(images), torch.stack(labels)
                images, labels = [], []
    if images:
        yield torch.stack(images), torch.stack(labels)
