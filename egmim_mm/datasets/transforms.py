"""Transforms: loading with named errors and a bounded cache, and geometric augmentation."""
import os
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from egmim_mm.registry import TRANSFORMS
from egmim_mm.storage.decoded_tiles import DecodedTiles
from egmim_mm.storage.mask_values import IGNORE, read_mask
from egmim_mm.storage.tar_member import TarMember
from egmim_mm.storage.tile_reading import TileReadError, read_image

__all__ = ['LoadTile', 'LoadTileMask', 'RandomQuarterTurn', 'RandomScaledCrop', 'crop_and_scale']


class ArrayCache:
    """Decoded files in memory, up to a number of bytes for each process, and on disk.

    What is in stays in: tiles are drawn in random order, where evicting would only cause more reading.
    The arrays are read-only, so that no later transform can change the next sample.
    """

    def __init__(self, limit_mb: float, cache_dir: str | None = None, backend_args: dict | None = None) -> None:
        if cache_dir is not None and backend_args:
            raise ValueError(f'cache_dir={cache_dir!r} holds local files; with backend_args set cache_dir=None and, if '
                             'there is memory, cache_mb')
        self.free = int(limit_mb * 2**20)
        self.arrays: dict[str, np.ndarray] = {}
        self.disk = None if cache_dir is None else DecodedTiles(cache_dir)

    def load(self, path: str | TarMember, decode: Callable[[], np.ndarray], kind: str = '') -> np.ndarray:
        """The decoded file, see :meth:`~egmim_mm.storage.decoded_tiles.DecodedTiles.load`."""
        array = self.arrays.get(str(path))
        if array is not None:
            return array
        # a file that is not there gets the message of its reader
        on_disk = self.disk is not None and (isinstance(path, TarMember) or os.path.isfile(path))
        array = self.disk.load(path, decode, kind) if on_disk else decode()
        if array.nbytes <= self.free:
            self.free -= array.nbytes
            array.flags.writeable = False
            self.arrays[str(path)] = array
        return array


@TRANSFORMS.register_module()
class LoadTile(BaseTransform):
    """Load an image; broken and truncated files are named.

    **Required Keys:**

    - img_path (str)
    - tar_member (TarMember, optional): Read instead of ``img_path``, for an image in a tar archive.

    **Added Keys:**

    - img (np.uint8, (H, W, 3), BGR, 0..255; read-only when it comes from the cache)
    - img_shape (tuple[int, int]): (H, W).
    - ori_shape (tuple[int, int]): (H, W).

    Args:
        cache_mb: Decoded tiles kept in RAM, in MiB **per process** (each loader worker has its own). 0: none.
        backend_args: Arguments of MMEngine's file backend.
        cache_dir: Folder of decoded tiles on disk, below that of each tile unless absolute, see
            :class:`~egmim_mm.storage.decoded_tiles.DecodedTiles`. None: none.

    Raises:
        ValueError: ``cache_dir`` with ``backend_args``: only local files have a size and a time to compare.
    """

    def __init__(self, cache_mb: float = 0, backend_args: dict | None = None, cache_dir: str | None = None) -> None:
        self.cache = ArrayCache(cache_mb, cache_dir, backend_args)
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        source = results.get('tar_member', path)
        image = self.cache.load(source, lambda: read_image(source, self.backend_args))
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadTileMask(BaseTransform):
    """Load the mask of a ``SegmentationTiles`` sample as classes.

    **Required Keys:**

    - seg_map_path (str)
    - mask_table (MaskValues): From the data set.
    - seg_fields (list)
    - ori_shape (tuple[int, int], optional): Compared with the size of the mask.

    **Modified Keys:**

    - seg_fields: 'gt_seg_map' is appended.

    **Added Keys:**

    - gt_seg_map (np.uint8, (H, W): 0..K-1, 255 = ignored; read-only when it comes from the cache)

    Raises:
        ValueError: The mask has been loaded already.
        TileReadError: A mask of another size, or one that cannot be read.

    Args:
        cache_mb, cache_dir: As in :class:`LoadTile`.
        backend_args: Arguments of MMEngine's file backend.
    """

    def __init__(self, cache_mb: float = 0, backend_args: dict | None = None, cache_dir: str | None = None) -> None:
        self.cache = ArrayCache(cache_mb, cache_dir, backend_args)
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        if 'gt_seg_map' in results.get('seg_fields', []):
            raise ValueError('the pipeline loads the mask twice: what turns or flips seg_fields would do so twice; '
                             'keep one egmim_mm.LoadTileMask')
        path = results['seg_map_path']
        table = results['mask_table']
        mask = self.cache.load(path, lambda: read_mask(path, table, self.backend_args), repr(table))
        if 'ori_shape' in results and mask.shape != tuple(results['ori_shape'][:2]):
            raise TileReadError(f"{path}: the mask has {mask.shape[0]} x {mask.shape[1]} px (height x width) but "
                                f"its image {results.get('img_path')} has {results['ori_shape'][0]} x "
                                f"{results['ori_shape'][1]}")
        results['gt_seg_map'] = mask
        results['seg_fields'] = [*results.get('seg_fields', []), 'gt_seg_map']
        return results


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
    label 255.

    **Required Keys:**

    - img ((H, W, 3) uint8)
    - gt_seg_map ((H, W) uint8, optional)

    **Modified Keys:**

    - img, gt_seg_map: (crop height, crop width)
    - img_shape

    **Added Keys:**

    - scale_factor (tuple[float, float]): Scale in x and y.

    Args:
        crop_size: Crop in px; (height, width).
        scale_range: The scale is drawn uniformly from it; 2 enlarges twofold.
        cat_max_ratio: A window whose most frequent class takes this share of its labelled pixels or more, or without
            any label, is drawn again, at most ten times. 1 accepts every window.
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
            # EXACT samples at pixel centres like the image; plain NEAREST is shifted by half a pixel.
            seg = crop_and_scale(seg, top, left, window, size, cv2.INTER_NEAREST_EXACT)
            results['gt_seg_map'] = self._pad(seg, IGNORE)
        results['img_shape'] = self.crop_size
        results['scale_factor'] = (size[1] / window[1], size[0] / window[0])
        return results

    def _draw_corner(self, shape: tuple, window: tuple[int, int], seg: np.ndarray | None) -> tuple[int, int]:
        if self.class_centred and seg is not None and np.random.uniform() < self.class_centred:
            corner = _corner_at_class(window, seg)
            if corner is not None:
                return corner
        for _ in range(self.ATTEMPTS):
            top, left = (np.random.randint(0, full - win + 1) for full, win in zip(shape, window))
            if seg is None or self.cat_max_ratio >= 1:
                break
            # Every fourth pixel is enough to judge a window and costs a sixteenth.
            counts = np.bincount(seg[top:top + window[0]:4, left:left + window[1]:4].ravel(),
                                 minlength=IGNORE + 1)[:IGNORE]
            if counts.sum() > 0 and counts.max() < self.cat_max_ratio * counts.sum():
                break
        return top, left

    def _pad(self, array: np.ndarray, value: int | Sequence[int]) -> np.ndarray:
        below, right = (crop - side for crop, side in zip(self.crop_size, array.shape))
        if below == 0 and right == 0:
            return array
        return cv2.copyMakeBorder(array, 0, below, 0, right, cv2.BORDER_CONSTANT, value=value)


def _corner_at_class(window: tuple[int, int], seg: np.ndarray) -> tuple[int, int] | None:
    """Corner of a window around a pixel of a class drawn from those in (H, W) labels; None without a label.

    The pixel lies anywhere in the middle half of the window, unless the window would leave the tile.
    """
    thinned = seg[::2, ::2]  # a quarter of the pixels is enough to draw from
    classes = np.flatnonzero(np.bincount(thinned.ravel(), minlength=IGNORE + 1)[:IGNORE])
    if not len(classes):
        return None
    places = np.flatnonzero(thinned.ravel() == np.random.choice(classes))
    pixel = np.unravel_index(np.random.choice(places), thinned.shape)
    return tuple(int(np.clip(2 * at - round(win * np.random.uniform(0.25, 0.75)), 0, full - win))
                 for at, win, full in zip(pixel, window, seg.shape))


@TRANSFORMS.register_module()
class RandomQuarterTurn(BaseTransform):
    """Turn by 0, 90, 180 or 270 degrees, each with the same probability: aerial images have no up.

    **Required Keys:**

    - img ((H, W, C))
    - gt_seg_map ((H, W), optional)

    **Modified Keys:**

    - img, gt_seg_map (views: nothing is copied before the sample is packed), img_shape

    **Added Keys:**

    - quarter_turns (int): Counter-clockwise turns, 0..3.
    """

    def transform(self, results: dict) -> dict:
        turns = int(np.random.randint(4))
        for key in ('img', 'gt_seg_map'):
            if turns and key in results:
                results[key] = np.rot90(results[key], turns)
        results['img_shape'] = results['img'].shape[:2]
        results['quarter_turns'] = turns
        return results
