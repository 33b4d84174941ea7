"""Geometric augmentation: random windows at random scales, quarter turns."""
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, RandomFlip
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from egmim_mm.registry import TRANSFORMS
from egmim_mm.storage.mask_values import IGNORE
from egmim_mm.storage.sparse_masks import is_sparse

__all__ = ['RandomMirror', 'RandomQuarterTurn', 'RandomScaledCrop', 'crop_and_scale']


def crop_and_scale(array: np.ndarray, top: int, left: int, window: tuple[int, int], size: tuple[int, int],
                   interpolation: int) -> np.ndarray:
    """Cut ``window`` = (h, w) px at (top, left) out of (H, W[, C]) and resize it to ``size`` = (h, w)."""
    cut = array[top:top + window[0], left:left + window[1]]
    if window == size:
        return cut.copy()
    return cv2.resize(np.ascontiguousarray(cut), size[::-1], interpolation=interpolation)


@TRANSFORMS.register_module()
class RandomScaledCrop(BaseTransform):
    """Random scale and crop in one step: cut a window of crop / scale px, then resize it to the crop.

    The result is that of scaling the tile and cropping, without scaling the pixels that are thrown
    away. A tile smaller than the window is scaled whole and padded below and on the right, with the
    label 255. Such a sample says in ``valid`` which pixels are its own; the first of a run without labels is logged.

    **Required Keys:**

    - img ((H, W, 3) uint8)
    - gt_seg_map ((H, W) uint8, optional)
    - valid ((H, W) bool, optional): True = the pixel holds data.

    **Modified Keys:**

    - img, gt_seg_map, valid: (crop height, crop width)
    - img_shape

    **Added Keys:**

    - scale_factor (tuple[float, float]): Scale in x and y.
    - valid ((crop height, crop width) bool): False = padding; of padded samples alone.

    Args:
        crop_size: Crop in px; (height, width).
        scale_range: The scale is drawn uniformly from it; 2 enlarges twofold.
        cat_max_ratio: A window whose most frequent class takes this share of its labelled pixels or more, or without
            any label, is drawn again, at most ten times. 1 accepts every window with a label. In place of a last one
            without any, a window around a random labelled pixel is taken, if the tile has one.
        pad_value: BGR colour of padding. The ImageNet mean becomes 0 after normalisation, as in mmseg's own padding.
        class_centred: Share of the windows that hold a pixel drawn so that the classes of the tile come equally often:
            a class, then one of its pixels, then a window around it. ``cat_max_ratio`` does not apply to them.
    """

    ATTEMPTS = 10

    def __init__(self, crop_size: int | tuple[int, int], scale_range: tuple[float, float] = (0.5, 2.0),
                 cat_max_ratio: float = 0.75, pad_value: Sequence[int] = (104, 116, 124),
                 class_centred: float = 0.0) -> None:
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'scale_range {scale_range} must be (smallest, largest), both above 0')
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise ValueError(f'crop_size {crop_size} must be positive')
        if not 0 <= class_centred <= 1:
            raise ValueError(f'class_centred {class_centred} must be a share of the windows, in 0..1')
        self.class_centred = class_centred
        self.scale_range, self.cat_max_ratio, self.pad_value = tuple(scale_range), cat_max_ratio, tuple(pad_value)
        self._said = False  # that a tile was padded

    def transform(self, results: dict) -> dict:
        image, seg = results['img'], results.get('gt_seg_map')
        scale = np.random.uniform(*self.scale_range)
        window = tuple(min(full, max(1, round(crop / scale))) for full, crop in zip(image.shape, self.crop_size))
        # Where the tile is smaller than the window its side is scaled, else the crop is filled exactly.
        size = tuple(crop if win == round(crop / scale) else max(1, min(crop, round(win * scale)))
                     for win, crop in zip(window, self.crop_size))
        top, left = self._draw_corner(image.shape, window, seg)

        shrinking = size[0] * size[1] < window[0] * window[1]
        interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        results['img'] = self._pad(crop_and_scale(image, top, left, window, size, interpolation), self.pad_value)
        if seg is not None:
            results['gt_seg_map'] = self._pad(_scaled_labels(seg, top, left, window, size), IGNORE)
        valid = results.get('valid')
        if valid is not None or size != self.crop_size:
            valid = np.ones(image.shape[:2], np.uint8) if valid is None else np.asarray(valid, np.uint8)
            valid = crop_and_scale(valid, top, left, window, size, cv2.INTER_NEAREST_EXACT)
            results['valid'] = self._pad(valid, 0).astype(bool)
        if seg is None and size != self.crop_size:
            self._say(results.get('img_path'), image.shape, window)
        results['img_shape'] = self.crop_size
        results['scale_factor'] = (size[1] / window[1], size[0] / window[0])
        return results

    def _say(self, path: str | None, shape: tuple, window: tuple[int, int]) -> None:
        worker = get_worker_info()
        if not self._said and (worker is None or worker.id == 0):  # once, not once for each worker
            print_log(f'{path or "A tile"}: {shape[0]} x {shape[1]} px (height x width) is smaller than a window of a '
                      f'crop of {self.crop_size[0]} x {self.crop_size[1]} px (least scale {self.scale_range[0]:g}): '
                      'such tiles are padded, and the padding counts as no data. Larger tiles, or a smaller crop_size, '
                      'waste none of the computation', logger='current')
            self._said = True

    def _draw_corner(self, shape: tuple, window: tuple[int, int], seg: np.ndarray | None) -> tuple[int, int]:
        if self.class_centred and seg is not None and np.random.uniform() < self.class_centred:
            corner = _corner_at_class(window, seg)
            if corner is not None:
                return corner
        for _ in range(self.ATTEMPTS):
            top, left = (np.random.randint(0, full - win + 1) for full, win in zip(shape, window))
            if seg is None or self.cat_max_ratio >= 1:
                break
            # every fourth pixel is enough to judge a window and costs a sixteenth
            thinned, _ = _thinned(seg[top:top + window[0], left:left + window[1]], 4)
            counts = np.bincount(thinned.ravel(), minlength=IGNORE + 1)[:IGNORE]
            if counts.sum() > 0 and counts.max() < self.cat_max_ratio * counts.sum():
                break
        if seg is not None and (seg[top:top + window[0], left:left + window[1]] == IGNORE).all():
            return _corner_at_label(window, seg) or (top, left)
        return top, left

    def _pad(self, array: np.ndarray, value: int | Sequence[int]) -> np.ndarray:
        below, right = (crop - side for crop, side in zip(self.crop_size, array.shape))
        if below == 0 and right == 0:
            return array
        return cv2.copyMakeBorder(array, 0, below, 0, right, cv2.BORDER_CONSTANT, value=value)


def _thinned(seg: np.ndarray, step: int) -> tuple[np.ndarray, int]:
    """Every ``step``-th pixel of labels in rows and columns, and the step; of a sparse mask all, and 1."""
    thinned = seg[::step, ::step]
    return (seg, 1) if is_sparse(thinned) else (thinned, step)


def _scaled_labels(seg: np.ndarray, top: int, left: int, window: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """:func:`crop_and_scale` of labels; shrinking drops no label of a sparse mask."""
    # EXACT samples at pixel centres like the image; plain NEAREST is shifted by half a pixel
    scaled = crop_and_scale(seg, top, left, window, size, cv2.INTER_NEAREST_EXACT)
    if (size[0] < window[0] or size[1] < window[1]) and is_sparse(scaled):
        cut = seg[top:top + window[0], left:left + window[1]]
        places = np.nonzero(cut != IGNORE)
        row, column = (at * to // own for at, to, own in zip(places, size, window))
        scaled[row, column] = cut[places]
    return scaled


def _corner_at_class(window: tuple[int, int], seg: np.ndarray) -> tuple[int, int] | None:
    """Corner of a window around a pixel of a class drawn from those in (H, W) labels; None without a label."""
    thinned, step = _thinned(seg, 2)  # a quarter of the pixels is enough to draw from
    classes = np.flatnonzero(np.bincount(thinned.ravel(), minlength=IGNORE + 1)[:IGNORE])
    return _corner_at(thinned == np.random.choice(classes), step, window, seg.shape) if len(classes) else None


def _corner_at_label(window: tuple[int, int], seg: np.ndarray) -> tuple[int, int] | None:
    """Corner of a window around a random labelled pixel; None without one."""
    labelled = seg != IGNORE
    return _corner_at(labelled, 1, window, seg.shape) if labelled.any() else None


def _corner_at(wanted: np.ndarray, step: int, window: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """Corner of a window around a random one of the wanted pixels, which are every ``step``-th of a tile.

    The pixel lies anywhere in the middle half of the window, unless the window would leave the tile.
    """
    pixel = np.unravel_index(np.random.choice(np.flatnonzero(wanted)), wanted.shape)
    return tuple(int(np.clip(step * at - round(win * np.random.uniform(0.25, 0.75)), 0, full - win))
                 for at, win, full in zip(pixel, window, shape))


@TRANSFORMS.register_module()
class RandomMirror(RandomFlip):
    """MMCV's ``RandomFlip``, with the same random numbers, that mirrors ``valid`` as well.

    **Required Keys:**

    - img ((H, W, C)), and what MMCV's transform takes
    - valid ((H, W) bool, optional): True = the pixel holds data.

    **Modified Keys:**

    - img, valid, and what MMCV's transform changes
    """

    def _flip(self, results: dict) -> None:
        super()._flip(results)
        if 'valid' in results:
            axes = dict(horizontal=1, vertical=0, diagonal=(0, 1))
            results['valid'] = np.flip(results['valid'], axes[results['flip_direction']])


@TRANSFORMS.register_module()
class RandomQuarterTurn(BaseTransform):
    """Turn by 0, 90, 180 or 270 degrees, each with the same probability: aerial images have no up.

    **Required Keys:**

    - img ((H, W, C))
    - gt_seg_map, valid ((H, W), optional)

    **Modified Keys:**

    - img, gt_seg_map, valid (views: nothing is copied before the sample is packed), img_shape

    **Added Keys:**

    - quarter_turns (int): Counter-clockwise turns, 0..3.
    """

    def transform(self, results: dict) -> dict:
        turns = int(np.random.randint(4))
        for key in ('img', 'gt_seg_map', 'valid'):
            if turns and key in results:
                results[key] = np.rot90(results[key], turns)
        results['img_shape'] = results['img'].shape[:2]
        results['quarter_turns'] = turns
        return results
