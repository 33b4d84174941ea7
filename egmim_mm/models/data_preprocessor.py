from collections.abc import Sequence

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from mmseg.models import SegDataPreProcessor
from mmseg.utils import stack_batch
from torch import Tensor

from egmim_mm.registry import MODELS


@MODELS.register_module()
class BandDataPreprocessor(SelfSupDataPreprocessor):
    """MMPretrain's SelfSupDataPreprocessor for any number of bands (its own takes one or three).

    Args:
        mean, std: Per band, in the order the model sees, raw pixel units; one value serves all
            bands. By default pixels are divided by 255.
        bgr_to_rgb: Reverse the bands of three-band images. The loader reads BGR.
        non_blocking: Copy to the device without waiting for it; memory that is not pinned is waited for all the same.

    Raises:
        ValueError: mean and std differ in length, or ``bgr_to_rgb`` with a number of bands other than three.
    """

    def __init__(self,
                 mean: Sequence[float] = (0.0, ),
                 std: Sequence[float] = (255.0, ),
                 bgr_to_rgb: bool = False,
                 non_blocking: bool = True) -> None:
        super().__init__(bgr_to_rgb=bgr_to_rgb, non_blocking=non_blocking)
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f'data_preprocessor: mean and std need one value per band each, and std above 0; got '
                             f'mean={list(mean)}, std={list(std)}')
        if bgr_to_rgb and len(mean) not in (1, 3):
            raise ValueError(f'data_preprocessor: bgr_to_rgb=True is for three bands, mean has {len(mean)} values; '
                             'set bgr_to_rgb=False')
        self._enable_normalize = True
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """As MMPretrain's, whose list of band numbers is copied to the GPU in every step."""
        data = self.cast_data(data)
        inputs = data['inputs']
        views = [view.flip(1) if self._channel_conversion else view
                 for view in (inputs if isinstance(inputs, list) else [inputs])]
        views = [(view.float() - self.mean) / self.std for view in views]
        return dict(inputs=views if isinstance(inputs, list) else views[0], data_samples=data.get('data_samples'))


@MODELS.register_module()
class SegmentationPreprocessor(SegDataPreProcessor):
    """MMSegmentation's SegDataPreProcessor, which in training takes a batch as a whole where it can.

    MMSegmentation normalises and pads image by image, and copies a list of band numbers to the GPU for each. The values
    are the same. Images of different sizes, and everything outside training, go MMSegmentation's way.

    Args:
        non_blocking: As that of :class:`BandDataPreprocessor`.
        kwargs: Of MMSegmentation's.
    """

    def __init__(self, *args, non_blocking: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._non_blocking = non_blocking

    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs``: (B, C, H, W), or a list of (C, H, W) -> (B, C, H, W) float32, normalised and padded."""
        data = self.cast_data(data)
        images, samples = data['inputs'], data.get('data_samples')
        alike = isinstance(images, Tensor) or len({image.shape for image in images}) == 1
        if not training or not alike or samples is None or self.batch_augments is not None:
            return super().forward(data, training)
        images = images if isinstance(images, Tensor) else torch.stack(images)
        if self._channel_conversion and images.shape[1] == 3:
            images = images.flip(1)
        images = images.float()
        if self._enable_normalize:
            images = (images - self.mean) / self.std
        if not self._fits(images):
            images, samples = stack_batch(list(images), samples, self.size, self.size_divisor, self.pad_val,
                                          self.seg_pad_val)
        else:
            for sample in samples:
                sample.set_metainfo(dict(img_shape=images.shape[2:], padding_size=(0, 0, 0, 0),
                                         pad_shape=sample.gt_sem_seg.shape if 'gt_sem_seg' in sample else None))
        return dict(inputs=images, data_samples=samples)

    def _fits(self, images: Tensor) -> bool:
        """Whether nothing is to be padded."""
        if (self.size is None) == (self.size_divisor is None):
            return False  # MMSegmentation's function says what is wrong
        height, width = images.shape[2:]
        if self.size is not None:
            return height >= self.size[-2] and width >= self.size[-1]
        return height % self.size_divisor == 0 and width % self.size_divisor == 0
