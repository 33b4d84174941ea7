"""Labelled crops on the device: bytes become normalised images and int64 labels."""
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor

from egmim_mm.batch_augmentation import BatchAugmentation, sample_seeds
from egmim_mm.registry import MODELS

__all__ = ['TilePreprocessor']


@MODELS.register_module()
class TilePreprocessor(SegDataPreProcessor):
    """MMSegmentation's ``SegDataPreProcessor`` for crops of one size, which it treats as one batch.

    Labels may come as bytes, see :class:`~egmim_mm.datasets.PackTiles`. Crops of different sizes, or smaller than
    ``size``, go the way of the base class.

    Args:
        augmentation: Options of :class:`BatchAugmentation`, which then takes the place of ``RandomFlip``,
            ``RandomQuarterTurn`` and ``PhotoMetricDistortion`` in the pipeline; None: none.
        non_blocking: Copy to the device without waiting, which needs the loader's pinned memory to have an effect.
        **kwargs: Arguments of the base class.

    Raises:
        ValueError: In training, crops that cannot be augmented, see :class:`BatchAugmentation`.
    """

    def __init__(self, augmentation: dict | None = None, non_blocking: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._non_blocking = non_blocking
        self.augmentation = None if augmentation is None else BatchAugmentation(**augmentation)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """As the base class's: (B, C, H, W) float32 and samples whose labels are (1, H, W) int64."""
        data = self.cast_data(data)
        inputs, samples = data['inputs'], data.get('data_samples')
        labelled = [sample for sample in samples or () if 'gt_sem_seg' in sample]
        sizes = {tuple(image.shape[-2:]) for image in inputs} | {tuple(one.gt_sem_seg.shape) for one in labelled}
        if not training or len(labelled) < len(inputs) or sizes != {tuple(self.size or ())}:
            if training and self.augmentation:
                raise ValueError(f'augmentation of batches needs labelled crops of data_preprocessor.size={self.size}, '
                                 f'got {sorted(sizes)}')
            for sample in labelled:
                sample.gt_sem_seg = PixelData(data=sample.gt_sem_seg.data.long())
            return super().forward(data, training)
        images = inputs if isinstance(inputs, torch.Tensor) else torch.stack(inputs)
        labels = torch.stack([sample.gt_sem_seg.data for sample in samples])  # (B, 1, H, W)
        if self.augmentation:
            images, labels = self.augmentation(images, labels, sample_seeds(samples))
        if self._channel_conversion and images.shape[1] == 3:
            images = images.flip(1)
        images, labels = images.float(), labels.long()
        if self._enable_normalize:
            images = (images - self.mean) / self.std
        for sample, label in zip(samples, labels):
            sample.gt_sem_seg = PixelData(data=label)
            sample.set_metainfo(dict(img_shape=images.shape[-2:], pad_shape=label.shape[-2:],
                                     padding_size=(0, 0, 0, 0)))
        if self.batch_augments is not None:
            images, samples = self.batch_augments(images, samples)
        return dict(inputs=images, data_samples=samples)
