"""MMSegmentation's own slide inference as a function from an image to a class map: what ours is compared with."""
import copy
from collections.abc import Callable

import numpy as np
import torch
from mmengine.config import ConfigDict

from egmim_mm.precision import autocast_for

from .segmenter import Segmenter, image_sizes

__all__ = ['slide_starts', 'slide_stride', 'slide_windows', 'stock_slide']


def slide_stride(window: int) -> int:
    """Two thirds of the crop, rounded down: 341 px for 512, as MMSegmentation's configs have it."""
    return max(1, window * 2 // 3)


def slide_starts(size: int, window: int, stride: int) -> list[int]:
    """First pixels of MMSegmentation's crops along an axis of ``size`` px; the last one is moved back to the end."""
    return [max(0, min(i * stride, size - window)) for i in range(-(-max(size - window, 0) // stride) + 1)]


def slide_windows(height: int, width: int, window: int, stride: int) -> int:
    """How many crops MMSegmentation's slide inference predicts."""
    return len(slide_starts(height, window, stride)) * len(slide_starts(width, window, stride))


def stock_slide(segmenter: Segmenter, window: int, stride: int) -> Callable[[np.ndarray], np.ndarray]:
    """Function: (H, W, C) uint8 in the order of the files -> (H, W) uint8 classes, by ``EncoderDecoder.inference``.

    The model is a copy with the same weights in the memory layout that MMSegmentation gives them. Its logits are
    averaged over the crops, every crop counts alike, and one crop is predicted at a time.

    Args:
        segmenter: Its model, device, order of bands and normalisation.
        window: Side of a crop, px.
        stride: From one crop to the next, px.
    """
    model = copy.deepcopy(segmenter.model).to(memory_format=torch.contiguous_format)
    model.test_cfg = ConfigDict(mode='slide', crop_size=(window, window), stride=(stride, stride))

    def classes(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), autocast_for(segmenter.device, segmenter.precision):
            logits = model.inference(segmenter.inputs([image]), [image_sizes(*image.shape[:2])])[0]
            return logits.argmax(0).to(torch.uint8).cpu().numpy()

    return classes
