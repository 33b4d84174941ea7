"""Random windows straight from large rasters, for pretraining: no tiling."""
import copy
import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset, Compose
from mmengine.logging import print_log

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.registry import DATASETS
from egmim_mm.storage.band_scaling import BandScaling, load_scaling
from egmim_mm.storage.image_files import find_images, matches_any
from egmim_mm.storage.raster_cache import decoded_raster, read_window, window_bands
from egmim_mm.storage.rasters import find_rasters, open_raster
from egmim_mm.storage.tile_reading import TileReadError

from .position_seed import SeededByPosition, mix_seed

__all__ = ['RasterCrops']


@DATASETS.register_module()
class RasterCrops(SeededByPosition, BaseDataset):
    """Random windows of every raster below a folder: position, scale, rotation and mirror image are drawn anew.

    A sample is ``dict(img, valid, img_path, window, angle, img_shape, ori_shape)``: ``img`` (crop, crop, bands) uint8,
    BGR if there are three bands; ``valid`` (crop, crop) bool, False where the raster has no data or ends; ``window``
    (top, left, height, width) px in the raster and ``angle``, degrees, by which its content is turned counter-clockwise
    about its centre, before the quarter turn. All geometry is done here:
    a pipeline that turned ``img`` alone would part it from ``valid``. It is usually
    ``[dict(type='PackInputs', algorithm_keys=['valid'])]``.

    Args:
        data_root: The folder.
        crop_size: Side of a crop, px.
        num_crops: Crops that count as one pass; their content depends on the seed alone, so any number will do.
        scale_range: The scale is drawn uniformly from it; 2 enlarges twofold.
        augment: Whether crops are turned by quarters and mirrored.
        rotation: The angle is drawn uniformly from it, degrees; (0, 360) is any. (0, 0): none, which interpolates
            nothing at scale 1. A turned crop reaches beyond the window that it fills, so its place is drawn where the
            raster has room for that; in a narrower one its corners are not ``valid``.
        suffixes: Endings of raster files, without case; None: every format that GDAL opens.
        include: Shell patterns on the path without suffix.
        bands: Bands of the files, from 1 on; None: those of the scaling, or all but alpha.
        scaling: File of tools/measure_bands.py, or (low, high) for each band: what becomes 0 and 255. None: samples are
            8-bit.
        nodata: Value of pixels without data instead of what the files say, or 'none': all pixels hold data. See
            :func:`egmim_mm.storage.rasters.valid_pixels`.
        min_valid: A window with a smaller share of valid pixels is drawn again, at most ten times; then the best of
            them is taken.
        cache_dir: Folder of the decoded rasters, below ``data_root`` unless absolute. None: windows are read from the
            files.
        pipeline: Transforms.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: No such folder, or no raster in it.
        TileReadError: A file is no raster, does not have the bands and the type of samples that the others have, or
            cannot be decoded.
        ValueError: Bad options.
    """

    ATTEMPTS = 10

    def __init__(self, data_root: str, crop_size: int = 224, num_crops: int = 10_000,
                 scale_range: tuple[float, float] = (0.67, 1.5), augment: bool = True,
                 rotation: tuple[float, float] = (0, 0),
                 suffixes: Sequence[str] | None = None, include: str | Sequence[str] | None = None,
                 bands: Sequence[int] | None = None, scaling: str | Sequence | None = None, min_valid: float = 0.5,
                 cache_dir: str | None = '.egmim_cache', pipeline: Sequence = (), nodata: float | str | None = None,
                 **kwargs: Any) -> None:
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'scale_range {scale_range} must be (smallest, largest), both above 0')
        if crop_size < 1 or num_crops < 1 or not 0 <= min_valid <= 1:
            raise ValueError(f'crop_size {crop_size} and num_crops {num_crops} must be at least 1, min_valid '
                             f'{min_valid} in [0, 1]')
        if len(rotation) != 2 or rotation[0] > rotation[1]:
            raise ValueError(f'rotation {rotation} must be (smallest, largest) in degrees')
        self.rotation = tuple(rotation)
        self.crop_size, self.num_crops, self.scale_range, self.augment = crop_size, num_crops, scale_range, augment
        self.suffixes, self.include, self.min_valid, self.nodata = suffixes, include, min_valid, nodata
        self.bands = tuple(bands) if bands else None
        self.scaling = load_scaling(scaling) if isinstance(scaling, str) else None if scaling is None else BandScaling(
            *map(tuple, zip(*scaling)))
        self.cache_dir = None if cache_dir is None else os.path.join(data_root, cache_dir)
        self._open: dict[str, Any] = {}  # rasters of this process
        self._is_plain = False
        super().__init__(data_root=str(data_root), data_prefix=dict(img_path=''), pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the rasters with their sizes; all need the same bands."""
        if self.suffixes is None:
            rasters, others = find_rasters(self.data_root)
            if others:
                print_log(f'{len(others)} files in {self.data_root} are no rasters and are left out: '
                          f'{", ".join(others[:5])}', logger='current')
        else:
            rasters = find_images(self.data_root, self.suffixes)
        files = [file for file in rasters if matches_any(self.include, os.path.splitext(file)[0])]
        if not files:
            raise FileNotFoundError(f'no rasters ({", ".join(self.suffixes or ["any format"])}) in {self.data_root}'
                                    f'{f" match include={self.include!r}" if rasters else ""}')
        entries, first = [], None
        for file in files:
            with open_raster(os.path.join(self.data_root, file)) as source:
                number = window_bands(source, self.bands, self.scaling)
                first = first or (source.name, number)
                if number != first[1]:
                    raise TileReadError(f'{source.name}: gives {number} bands, {first[0]} {first[1]}; crops of one '
                                        'batch need the same: choose bands=, or leave the file out with include=')
                entries.append(dict(img_path=source.name, height=source.height, width=source.width))
        areas = np.array([entry['height'] * entry['width'] for entry in entries], np.float64)
        self._cumulated = areas.cumsum() / areas.sum()  # every place on the ground is as likely
        return entries

    def __len__(self) -> int:
        """Crops of one pass."""
        return self.num_crops

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _open={})  # handles and maps belong to one process

    def plain(self) -> 'RasterCrops':
        """The same rasters in crops as they lie, neither scaled nor turned; crop i is the same in every call."""
        plain = copy.copy(self)
        plain.pipeline = Compose([])
        plain._is_plain, plain.augment, plain.rotation, plain.scale_range = True, False, (0, 0), (1, 1)
        plain._open = {}
        return plain

    def get_data_info(self, idx: int) -> dict:
        """One crop, drawn from NumPy's global generator, which ``SampleIndex.seed`` seeds."""
        draws = np.random.RandomState(mix_seed('plain', int(idx))) if self._is_plain else np.random
        best, share = None, -1.0
        for _ in range(self.ATTEMPTS):
            drawn = self._draw(draws)
            if drawn['valid'].mean() > share:
                best, share = drawn, drawn['valid'].mean()
            if share >= self.min_valid:
                break
        return dict(best, sample_idx=int(idx), img_shape=best['img'].shape[:2], ori_shape=best['img'].shape[:2])

    def _draw(self, draws: Any) -> dict:
        """A crop from ``draws``, NumPy's global generator or a ``RandomState``."""
        place = int(np.searchsorted(self._cumulated, draws.uniform()))
        entry = super().get_data_info(place)
        side = max(1, round(self.crop_size / draws.uniform(*self.scale_range)))
        side = min(side, entry['height'], entry['width'])
        # no number is drawn where there is nothing to choose: crops of a seed stay what they were
        angle = draws.uniform(*self.rotation) if any(self.rotation) else 0.0
        margin = _margin(side, angle)
        top, left = (draws.randint(room, full - side - room + 1) for full in (entry['height'], entry['width'])
                     for room in [margin if side + 2 * margin <= full else 0])
        if angle:
            image, valid = self._turned(entry, top, left, side, angle)
        else:
            image, valid = self._window(entry['img_path'], top, left, side, side)
        if side != self.crop_size:
            size = (self.crop_size, self.crop_size)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if side > self.crop_size else cv2.INTER_LINEAR)
            image = image[..., None] if image.ndim == 2 else image
            valid = cv2.resize(valid.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
        if self.augment:
            turns, mirrored = draws.randint(4), draws.randint(2)
            image, valid = (np.rot90(array, turns) for array in (image, valid))
            image, valid = (array[:, ::-1] if mirrored else array for array in (image, valid))
        image = swap_rgb_bgr(image)
        return dict(img=np.ascontiguousarray(image), valid=np.ascontiguousarray(valid), img_path=entry['img_path'],
                    window=(int(top), int(left), side, side), angle=float(angle))

    def _turned(self, entry: dict, top: int, left: int, side: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """The window with its content turned about its centre, (side, side[, bands]); 0 beyond the raster."""
        around = _margin(side, angle) + 1  # one more px for the interpolation
        start = (max(0, top - around), max(0, left - around))
        height, width = (min(full, first + side + around) - begin for full, first, begin in zip(
            (entry['height'], entry['width']), (top, left), start))
        image, valid = self._window(entry['img_path'], *start, height, width)
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        middle = (side - 1) / 2  # pixel centres lie at whole numbers
        x, y = left - start[1] + middle, top - start[0] + middle
        matrix = np.array([[cos, -sin, x - middle * (cos - sin)], [sin, cos, y - middle * (sin + cos)]])
        # bit 1: data, bit 2: within the raster
        states = cv2.warpAffine(valid.view(np.uint8) | np.uint8(2), matrix, (side, side),
                                flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
        # band by band: for more than four together OpenCV rounds positions more coarsely
        bands = [cv2.warpAffine(np.ascontiguousarray(image[..., i]), matrix, (side, side),
                                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
                 for i in range(image.shape[-1])]
        image = np.stack(bands, axis=-1)
        image[states == 0] = 0
        return image, states == 3

    def _window(self, path: str, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        if path not in self._open:
            self._open[path] = open_raster(path) if self.cache_dir is None else decoded_raster(
                path, self.cache_dir, self.bands, self.scaling, self.nodata)
        if self.cache_dir is None:
            return read_window(self._open[path], top, left, height, width, self.bands, self.scaling, self.nodata)
        part = np.s_[top:top + height, left:left + width]
        pixels, valid = self._open[path]
        return np.array(pixels[part]), np.array(valid[part])


def _margin(side: int, angle: float) -> int:
    """How far a square of ``side`` px reaches beyond its place when it is turned, px."""
    turned = side * (abs(np.cos(np.radians(angle))) + abs(np.sin(np.radians(angle))))
    return max(0, int(np.ceil((turned - side) / 2 - 1e-9)))
