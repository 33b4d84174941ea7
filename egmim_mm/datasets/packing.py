"""Labelled crops as they travel to the model: bytes, which a GPU can fetch while it computes."""
from typing import Any

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.structures import SegDataSample

from egmim_mm.registry import TRANSFORMS

__all__ = ['PackTiles', 'TileSample']


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
