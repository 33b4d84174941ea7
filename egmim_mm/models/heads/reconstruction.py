from mmengine.model import BaseModule
from torch import Tensor, nn

from egmim_mm.registry import MODELS


@MODELS.register_module()
class EdgeWeightedReconstructionHead(BaseModule):
    """Pixels from the last stage: 1x1 convolution and pixel shuffle (SimMIM's one-layer head).

    Args:
        in_channels (int): Channels of the last stage.
        out_channels (int): Image bands.
        encoder_stride (int): Stride of the last stage, px.
        loss (dict): Config of the loss; edge weights come from :class:`EdgeWeightedL1Loss`.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int = 3,
                 encoder_stride: int = 32,
                 loss: dict = dict(type='egmim_mm.EdgeWeightedL1Loss'),
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.in_channels, self.out_channels, self.encoder_stride = in_channels, out_channels, encoder_stride
        self.decoder = nn.Sequential(
            nn.Conv2d(in_channels, encoder_stride**2 * out_channels, kernel_size=1), nn.PixelShuffle(encoder_stride))
        self.loss_module = MODELS.build(loss)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H / stride, W / stride) -> (B, out_channels, H, W) normalised pixels."""
        # the small features, rather than all pixels, take the layout of the images they are compared with
        return self.decoder(features.contiguous())

    def loss(self, prediction: Tensor, target: Tensor, hidden: Tensor, edge: Tensor) -> Tensor:
        """Args: prediction as from forward, target (B, C, H, W); hidden (B, 1, H, W), 1 = hidden; edge (B, 1, H, W)."""
        return self.loss_module(prediction, target, hidden, edge)
