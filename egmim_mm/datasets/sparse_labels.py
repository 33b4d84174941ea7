import numpy as np
from mmcv.transforms import BaseTransform

from egmim_mm.readout import tile_generator
from egmim_mm.registry import TRANSFORMS
from egmim_mm.storage.mask_values import IGNORE
from egmim_mm.storage.sparse_masks import burn, disc

__all__ = ['SparseLabels']


@TRANSFORMS.register_module()
class SparseLabels(BaseTransform):
    """Keep the labels of a few random pixels of a tile, as if a person had clicked them; all others become 255.

    For experiments with weak labels on data with dense masks. It follows ``LoadTileMask`` at once, and counts as a part
    of loading: read-outs see the same points. Pixels are drawn uniformly over the labelled ones of the whole tile. They
    depend on the name of the tile and the seed alone, so that a tile has the same points each time it is loaded, and
    fewer points are the first ones of more. Which tiles a label budget chooses still follows from the dense masks.

    **Required Keys:**

    - gt_seg_map ((H, W) uint8, 0..K-1, 255 = unlabelled)
    - tile_name (str)

    **Modified Keys:**

    - gt_seg_map (a new array)

    Args:
        points: Points in each tile, 1 or more; of a tile with fewer labelled pixels all of these.
        seed: Which pixels.
        radius: Every point labels a disc of this radius with its class, px, as if drawn with a round brush: near a
            boundary it also labels pixels of another class. 0: the pixel alone.

    Raises:
        ValueError: No point, or a negative radius. When it runs: no mask was loaded before.
    """

    def __init__(self, points: int = 100, seed: int = 0, radius: float = 0) -> None:
        if isinstance(points, bool) or not isinstance(points, int) or points < 1:
            raise ValueError(f'SparseLabels: points={points!r} must be a whole number, 1 or more')
        if radius < 0:
            raise ValueError(f'SparseLabels: radius={radius} px must not be negative')
        self.points, self.seed, self.radius = points, seed, radius
        self._places: dict[str, np.ndarray] = {}  # of each tile that was loaded: drawing looks at all its pixels

    def transform(self, results: dict) -> dict:
        if 'gt_seg_map' not in results:
            raise ValueError('SparseLabels has no mask to take labels from: put it after egmim_mm.LoadTileMask')
        dense, name = results['gt_seg_map'], results['tile_name']
        if name not in self._places:
            labelled = np.flatnonzero(dense != IGNORE)
            self._places[name] = tile_generator(self.seed, name).permutation(labelled)[:self.points]
        places = self._places[name]
        sparse = np.full_like(dense, IGNORE)
        if self.radius < 1:
            sparse.flat[places] = dense.flat[places]
        else:
            shape, reach = disc(self.radius), int(self.radius)
            for row, column in zip(*np.unravel_index(places, dense.shape)):
                burn(sparse, shape, row - reach, column - reach, dense[row, column])
        results['gt_seg_map'] = sparse
        return results
