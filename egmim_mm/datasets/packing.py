"""Labelled crops as they travel to the model: bytes, which a GPU can fetch while it computes."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.structures import SegDataSample

from egmim_mm.registry import FUNCTIONS, TRANSFORMS

__all__ = ['PackTiles', 'TileSample', 'stack_tiles']


class TileSample(SegDataSample):
    """A sample of MMSegmentation that a loader with ``pin_memory=True`` can pin, which it leaves unpinned otherwise."""

    def pin_memory(self, device: Any = None) -> 'TileSample':
        """Move the labels to pinned memory."""
        if 'gt_sem_seg' in self:
            self.gt_sem_seg = PixelData(data=self.gt_sem_seg.data.pin_memory())
        return self


@TRANSFORMS.register_module()
class PackTiles(PackSegInputs):
    """MMSegmentation's ``PackSegInputs``, whose labels are one byte a pixel instead of eight.

    ``egmim_mm.TilePreprocessor`` makes them int64 on the device.

    **Required Keys:**

    - img ((H, W, C) uint8)
    - gt_seg_map ((H, W) uint8, optional)

    **Added Keys:**

    - inputs ((C, H, W) uint8)
    - data_samples (TileSample): ``gt_sem_seg`` (1, H, W) uint8.
    """

    def transform(self, results: dict) -> dict:
        packed = super().transform({key: value for key, value in results.items() if key != 'gt_seg_map'})
        sample = TileSample(metainfo=packed['data_samples'].metainfo)
        if 'gt_seg_map' in results:
            labels = torch.from_numpy(np.array(results['gt_seg_map'], np.uint8, order='C'))
            sample.gt_sem_seg = PixelData(data=labels[None])
        return dict(packed, data_samples=sample)


@FUNCTIONS.register_module()
def stack_tiles(samples: Sequence[dict]) -> dict[str, Any]:
    """Collate packed crops: a worker hands over two tensors for each batch, instead of two for each crop.

    Args:
        samples: B samples of :class:`PackTiles`.

    Returns:
        ``inputs`` (B, C, H, W) uint8, and ``data_samples``, a list whose labels are parts of one tensor. What differs
        in size stays as it is, ``inputs`` then as a list.
    """
    batch = pseudo_collate(samples)
    if len({image.shape for image in batch['inputs']}) == 1:
        batch['inputs'] = torch.stack(batch['inputs'])
    labelled = [sample for sample in batch['data_samples'] if 'gt_sem_seg' in sample]
    if len({sample.gt_sem_seg.shape for sample in labelled}) == 1:
        for sample, labels in zip(labelled, torch.stack([sample.gt_sem_seg.data for sample in labelled])):
            sample.gt_sem_seg = PixelData(data=labels)
    return batch
