from collections.abc import Sequence

import torch
from mmpretrain.models import SelfSupDataPreprocessor

from egmim_mm.batch_augmentation import BatchAugmentation, sample_seeds
from egmim_mm.registry import MODELS

from .valid_pixels import packed_valid


@MODELS.register_module()
class BandDataPreprocessor(SelfSupDataPreprocessor):
    """MMPretrain's SelfSupDataPreprocessor for any number of bands (its own takes one or three).

    Args:
        mean, std: Per band, in the order the model sees, raw pixel units; one value serves all
            bands. By default pixels are divided by 255.
        bgr_to_rgb: Reverse the bands of three-band images. The loader reads BGR.
        non_blocking: Copy to the device without waiting, which needs the loader's pinned memory to have an effect.
        augmentation: Options of :class:`BatchAugmentation`, for training; it then takes the place of ``RandomFlip``,
            ``RandomQuarterTurn`` and changes of colour in the pipeline. None: none.

    Raises:
        ValueError: mean and std differ in length, or ``bgr_to_rgb`` with a number of bands other than three.
    """

    def __init__(self,
                 mean: Sequence[float] = (0.0, ),
                 std: Sequence[float] = (255.0, ),
                 bgr_to_rgb: bool = False,
                 non_blocking: bool = True,
                 augmentation: dict | None = None) -> None:
        super().__init__(bgr_to_rgb=bgr_to_rgb, non_blocking=non_blocking)
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f'data_preprocessor: mean and std need one value per band each, and std above 0; got '
                             f'mean={list(mean)}, std={list(std)}')
        if bgr_to_rgb and len(mean) not in (1, 3):
            raise ValueError(f'data_preprocessor: bgr_to_rgb=True is for three bands, mean has {len(mean)} values; '
                             'set bgr_to_rgb=False')
        self._enable_normalize = True
        self.augmentation = None if augmentation is None else BatchAugmentation(**augmentation)
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """As MMPretrain's, whose list of band numbers is copied to the GPU in every step."""
        data = self.cast_data(data)
        inputs = data['inputs']
        if training and self.augmentation:
            samples = data.get('data_samples')
            inputs, valid = self.augmentation(inputs, packed_valid(samples, inputs), sample_seeds(samples))
            for sample, own in zip(samples or (), () if valid is None else valid):
                sample.set_field(own[0], 'valid')
        views = [view.flip(1) if self._channel_conversion else view
                 for view in (inputs if isinstance(inputs, list) else [inputs])]
        views = [(view.float() - self.mean) / self.std for view in views]
        return dict(inputs=views if isinstance(inputs, list) else views[0], data_samples=data.get('data_samples'))
