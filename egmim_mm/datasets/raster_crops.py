"""Random windows straight from large rasters, for pretraining: no tiling."""
import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.registry import DATASETS
from egmim_mm.storage.band_scaling import BandScaling, load_scaling, open_raster
from egmim_mm.storage.image_files import find_images, matches_any
from egmim_mm.storage.raster_cache import decoded_raster, read_window

from .position_seed import SeededByPosition

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
        data_root (str): The folder.
        crop_size (int): Side of a crop, px.
        num_crops (int): Crops that count as one pass; their content depends on the seed alone, so any number will do.
        scale_range (tuple[float, float]): The scale is drawn uniformly from it; 2 enlarges twofold.
        augment (bool): Whether crops are turned by quarters and mirrored.
        rotation (tuple[float, float]): The angle is drawn uniformly from it, degrees; (0, 360) is any. (0, 0): none,
            which interpolates nothing at scale 1. A turned crop reaches beyond the window that it fills, so its place
            is drawn where the raster has room for that; in a narrower one its corners are not ``valid``.
        suffixes (Sequence[str]): Endings of raster files, without case.
        include (str | Sequence[str] | None): Shell patterns on the path without suffix.
        bands (Sequence[int] | None): Bands, from 1 on; None: all but alpha.
        scaling (str | Sequence | None): File of tools/measure_bands.py, or (low, high) for each band: what becomes 0
            and 255. None: samples are 8-bit.
        min_valid (float): A window with a smaller share of valid pixels is drawn again, at most ten times; then the
            best of them is taken.
        cache_dir (str | None): Folder of the decoded rasters, below ``data_root`` unless absolute. None: windows are
            read from the files.
        pipeline (Sequence): Transforms.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: No such folder, or no raster in it.
        TileReadError: A file is no raster, is smaller than a window, or cannot be decoded.
        ValueError: Bad options.
    """

    ATTEMPTS = 10

    def __init__(self, data_root: str, crop_size: int = 224, num_crops: int = 10_000,
                 scale_range: tuple[float, float] = (0.67, 1.5), augment: bool = True,
                 rotation: tuple[float, float] = (0, 0),
                 suffixes: Sequence[str] = ('.tif', '.tiff'), include: str | Sequence[str] | None = None,
                 bands: Sequence[int] | None = None, scaling: str | Sequence | None = None, min_valid: float = 0.5,
                 cache_dir: str | None = '.egmim_cache', pipeline: Sequence = (), **kwargs: Any) -> None:
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'scale_range {scale_range} must be (smallest, largest), both above 0')
        if crop_size < 1 or num_crops < 1 or not 0 <= min_valid <= 1:
            raise ValueError(f'crop_size {crop_size} and num_crops {num_crops} must be at least 1, min_valid '
                             f'{min_valid} in [0, 1]')
        if len(rotation) != 2 or rotation[0] > rotation[1]:
            raise ValueError(f'rotation {rotation} must be (smallest, largest) in degrees')
        self.rotation = tuple(rotation)
        self.crop_size, self.num_crops, self.scale_range, self.augment = crop_size, num_crops, scale_range, augment
        self.suffixes, self.include, self.min_valid = tuple(suffixes), include, min_valid
        self.bands = tuple(bands) if bands else None
        self.scaling = load_scaling(scaling) if isinstance(scaling, str) else None if scaling is None else BandScaling(
            *map(tuple, zip(*scaling)))
        self.cache_dir = None if cache_dir is None else os.path.join(data_root, cache_dir)
        self._open: dict[str, Any] = {}  # rasters of this process
        super().__init__(data_root=str(data_root), data_prefix=dict(img_path=''), pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the rasters with their sizes."""
        files = [file for file in find_images(self.data_root, self.suffixes)
                 if matches_any(self.include, os.path.splitext(file)[0])]
        if not files:
            raise FileNotFoundError(f'no rasters ({", ".join(self.suffixes)}) in {self.data_root}')
        entries = []
        for file in files:
            with open_raster(os.path.join(self.data_root, file)) as source:
                entries.append(dict(img_path=source.name, height=source.height, width=source.width))
        areas = np.array([entry['height'] * entry['width'] for entry in entries], np.float64)
        self._cumulated = areas.cumsum() / areas.sum()  # every place on the ground is as likely
        return entries

    def __len__(self) -> int:
        """Crops of one pass."""
        return self.num_crops

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _open={})  # handles and maps belong to one process

    def get_data_info(self, idx: int) -> dict:
        """One crop, drawn from NumPy's global generator, which ``SampleIndex.seed`` seeds."""
        best, share = None, -1.0
        for _ in range(self.ATTEMPTS):
            drawn = self._draw()
            if drawn['valid'].mean() > share:
                best, share = drawn, drawn['valid'].mean()
            if share >= self.min_valid:
                break
        return dict(best, sample_idx=int(idx), img_shape=best['img'].shape[:2], ori_shape=best['img'].shape[:2])

    def _draw(self) -> dict:
        place = int(np.searchsorted(self._cumulated, np.random.uniform()))
        entry = super().get_data_info(place)
        side = max(1, round(self.crop_size / np.random.uniform(*self.scale_range)))
        side = min(side, entry['height'], entry['width'])
        # no number is drawn where there is nothing to choose: crops of a seed stay what they were
        angle = np.random.uniform(*self.rotation) if any(self.rotation) else 0.0
        margin = _margin(side, angle)
        top, left = (np.random.randint(room, full - side - room + 1) for full in (entry['height'], entry['width'])
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
            turns, mirrored = np.random.randint(4), np.random.randint(2)
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
                path, self.cache_dir, self.bands, self.scaling)
        if self.cache_dir is None:
            return read_window(self._open[path], top, left, height, width, self.bands, self.scaling)
        part = np.s_[top:top + height, left:left + width]
        pixels, valid = self._open[path]
        return np.array(pixels[part]), np.array(valid[part])


def _margin(side: int, angle: float) -> int:
    """How far a square of ``side`` px reaches beyond its place when it is turned, px."""
    turned = side * (abs(np.cos(np.radians(angle))) + abs(np.sin(np.radians(angle))))
    return max(0, int(np.ceil((turned - side) / 2 - 1e-9)))
