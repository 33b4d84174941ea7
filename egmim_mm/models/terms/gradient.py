from torch import Tensor

from egmim_mm.registry import MODELS

from ..losses import GradientL1Loss
from .base import LossTerm, MaskedBatch


@MODELS.register_module()
class GradientTerm(LossTerm):
    """L_grad: image gradients of the composite of visible and predicted pixels, see :class:`GradientL1Loss`.

    It has no layers: the prediction is that of :class:`PixelTerm`, which stands before it.

    Args:
        weight: Factor of the loss.
    """

    name = 'grad'
    reads = ('pixel', )

    def __init__(self, weight: float = 0.5, init_cfg: dict | None = None) -> None:
        super().__init__(weight, init_cfg)
        self.loss = GradientL1Loss()

    def losses(self, prediction: None, batch: MaskedBatch) -> dict[str, Tensor]:
        return dict(grad=self.loss(batch.predictions['pixel'], batch.inputs, batch.hidden))
