"""What all segmentation models are to the maker of maps: pixels in, class probabilities out."""
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from .blending import Grid, blended_strips
from .windows import check_window

__all__ = ['PixelClassifier']


class PixelClassifier(ABC):
    """A segmentation model, whatever runs it: :class:`Segmenter` or :class:`OnnxSegmenter`.

    Subclasses set ``classes``: K names; ``palette``: (K, 3) uint8 RGB; ``bands``: number of bands the model takes;
    ``window``: side of the windows by default, px; ``weights_sha256``: of the checkpoint file; ``device``: where the
    probabilities are; ``precision``: of :data:`~egmim_mm.precision.PRECISIONS`; ``tta``: average over the image and its
    two mirror images.
    """

    classes: tuple[str, ...]
    palette: np.ndarray
    bands: int
    window: int
    weights_sha256: str
    device: torch.device
    precision: str
    tta: bool

    def __call__(self, image: np.ndarray, window: int | None = None, overlap: float = 0.25,
                 batch: int = 8) -> np.ndarray:
        """Class numbers of an image.

        Args:
            image: (H, W, C) uint8, in the order of the files: RGB; C is ``bands``.
            window: Side of the windows, px; None: ``window`` of the model.
            overlap: Share of a window that its neighbour covers too.
            batch: Windows at once.

        Returns:
            (H, W) uint8.

        Raises:
            ValueError: Another shape or type, or options out of range.
        """
        image, window = np.asarray(image), window or self.window
        self.check_options(window, overlap, batch)
        if image.ndim != 3 or image.shape[2] != self.bands or image.dtype != np.uint8 or not image.size:
            raise ValueError(f'image must be (H, W, {self.bands}) uint8, got {image.shape} {image.dtype}')
        valid = np.ones(image.shape[:2], bool)
        strips = blended_strips(self.probabilities, len(self.classes),
                                lambda top, height: (image[top:top + height], valid[top:top + height]),
                                Grid(*image.shape[:2], window, overlap), batch, device=self.device)
        return np.concatenate([strip.classes for strip in strips])

    def check_options(self, window: int, overlap: float, batch: int = 1) -> None:
        """Raise a ValueError unless the model takes such windows, 0 <= ``overlap`` <= 0.9 and ``batch`` >= 1."""
        check_window(window, overlap)
        if batch < 1:
            raise ValueError(f'--batch {batch} must be at least 1')

    @torch.inference_mode()
    def probabilities(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """n images (H, W, bands) uint8 of one size, RGB -> (n, K, H, W) float32 on the device, adding up to 1."""
        inputs = self.inputs(images)
        flips = [(), (3, ), (2, )] if self.tta else [()]
        return sum(self._softmax(inputs.flip(flip)).flip(flip) for flip in flips) / len(flips)

    @torch.inference_mode()
    def logits(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """As :meth:`probabilities`, before the softmax and without mirror images."""
        return self._logits(self.inputs(images))

    def _softmax(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._logits(inputs).softmax(1)

    @abstractmethod
    def inputs(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """n images (H, W, bands) uint8 of one size, RGB -> what the network takes: (n, bands, H, W), in its order."""

    @abstractmethod
    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """-> (n, K, H, W) float32."""
