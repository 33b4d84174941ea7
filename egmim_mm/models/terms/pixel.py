from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.edges import image_quantile
from egmim_mm.registry import MODELS

from .base import LossTerm, MaskedBatch


@MODELS.register_module()
class EdgeWeightedReconstructionHead(BaseModule):
    """Pixels from the last stage: 1x1 convolution and pixel shuffle (SimMIM's one-layer head).

    Args:
        in_channels: Channels of the last stage.
        out_channels: Image bands.
        encoder_stride: Stride of the last stage, px.
    """

    def __init__(self, in_channels: int, out_channels: int = 3, encoder_stride: int = 32,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.in_channels, self.out_channels, self.encoder_stride = in_channels, out_channels, encoder_stride
        self.decoder = nn.Sequential(
            nn.Conv2d(in_channels, encoder_stride**2 * out_channels, kernel_size=1), nn.PixelShuffle(encoder_stride))

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H / stride, W / stride) -> (B, out_channels, H, W) normalised pixels."""
        # as one product of matrices: twice as fast as the convolution with its gradient on a CPU, in bfloat16
        convolution, side = self.decoder[0], self.encoder_stride
        x = F.linear(features.permute(0, 2, 3, 1), convolution.weight.flatten(1), convolution.bias)
        x = x.unflatten(3, (self.out_channels, side, side)).permute(0, 3, 1, 4, 2, 5)
        return x.flatten(4, 5).flatten(2, 3)


@MODELS.register_module()
class PixelTerm(LossTerm):
    """L_pix: the hidden pixels of every band, from the last stage; edges weigh more.

    Every model has this term: pictures show its prediction, and the other terms are scaled to its loss. Its weight
    is 1.

    Args:
        gamma: Extra weight of a full-strength edge, as ``loss.gamma``; 0 = SimMIM's loss.
        loss: Config of another loss of (prediction, target, hidden, edge).
    """

    name = 'pixel'
    stages = (3, )
    rescaled = False

    def __init__(self, gamma: float = 1.0, loss: dict | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.loss = MODELS.build(loss or dict(type='egmim_mm.EdgeWeightedL1Loss', gamma=gamma))

    @property
    def reads_edges(self) -> bool:
        """Whether edges weigh more."""
        return getattr(self.loss, 'gamma', 1.0) > 0

    def connect(self, backbone: nn.Module) -> None:
        self.head = EdgeWeightedReconstructionHead(
            backbone.num_features[3], out_channels=backbone.patch_embed.projection.in_channels)

    def predict(self, batch: MaskedBatch) -> Tensor:
        """(B, C, H, W) normalised pixels."""
        return self.head(batch.features[3])

    def losses(self, prediction: Tensor, batch: MaskedBatch) -> dict[str, Tensor]:
        return dict(pixel=self.loss(prediction, batch.inputs, batch.hidden, batch.edge))

    def constant_losses(self, batch: MaskedBatch) -> dict[str, Tensor]:
        """Of the median of the hidden pixels of each band and image, looked at on one pixel of every token."""
        inputs, hidden, edge = (x[..., 2::4, 2::4] for x in (batch.inputs, batch.hidden, batch.edge))
        bands = inputs.float().flatten(0, 1)[:, None]  # (B C, 1, h, w)
        counted = hidden.bool().expand_as(inputs).flatten(0, 1)[:, None]
        constant = image_quantile(bands, 0.5, counted).view(*inputs.shape[:2], 1, 1)
        return dict(pixel=self.loss(constant.expand_as(inputs), inputs, hidden, edge))
