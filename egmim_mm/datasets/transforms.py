"""Loading images and masks, with named errors and a bounded cache."""
import os
from collections.abc import Callable

import numpy as np
from mmcv.transforms import BaseTransform

from egmim_mm.registry import TRANSFORMS
from egmim_mm.storage.decoded_tiles import DecodedTiles
from egmim_mm.storage.mask_values import read_mask
from egmim_mm.storage.tar_member import TarMember
from egmim_mm.storage.tile_reading import TileReadError, read_image

__all__ = ['LoadTile', 'LoadTileMask']


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
