from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.edges import hog
from egmim_mm.registry import MODELS


@MODELS.register_module()
class EdgeStructureHead(BaseModule):
    """Edge strength and HOG of hidden areas from the shallow stages; dropped after pretraining.

    Stages 1 and 2 (strides 4 and 8) are projected by 1x1 convolutions, the deeper one upsampled and added,
    then a 3x3 convolution predicts edge strength at stride 4 and, averaged to 8-px cells, HOG. SimMIM
    supervises the last stage only, while UperNet reads all four. The 3x3 convolution starts at zero, so that the first
    steps, in which the head knows nothing, do not disturb pretrained stages.

    Args:
        in_channels (Sequence[int]): Channels of stages 1 and 2.
        channels (int): Width of the head; 64 keeps its cost a few percent of the backbone's.
        hog_bins (int): Orientation bins of the HOG target; 0 = no HOG. 9 as in MaskFeat.
        edge_loss, hog_loss (dict): Configs of the losses. The smooth L1's transition at 0.1 is a tenth of the
            range of edge strength.
    """

    hog_cell = 8  # px, the stride of stage 2

    def __init__(self,
                 in_channels: Sequence[int],
                 channels: int = 64,
                 hog_bins: int = 9,
                 edge_loss: dict = dict(type='egmim_mm.EdgeWeightedL1Loss', gamma=0.0, beta=0.1),
                 hog_loss: dict = dict(type='egmim_mm.CellMSELoss'),
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        self.hog_bins = hog_bins
        self.project = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.predict = nn.Sequential(nn.GELU(), nn.Conv2d(channels, 1 + hog_bins, 3, padding=1))
        for parameter in self.predict[1].parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # as the features: upsampling and 1x1 are several times faster
        self.edge_loss = MODELS.build(edge_loss)
        self.hog_loss = MODELS.build(hog_loss) if hog_bins else None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """[(B, C1, H/4, W/4), (B, C2, H/8, W/8)] -> (B, 1 + hog_bins, H/4, W/4)."""
        shallow, deep = (project(f) for project, f in zip(self.project, features))
        return self.predict(shallow + F.interpolate(deep, size=shallow.shape[-2:], mode='bilinear'))

    def loss(self, features: Sequence[Tensor], images: Tensor, mask: Tensor, edge: Tensor) -> dict[str, Tensor]:
        """Args: images (B, C, H, W) in [0, 1]; mask (B, H/4, W/4) bool; edge (B, 1, H, W) in [0, 1]."""
        output = self(features)
        hidden = mask[:, None].float()
        losses = dict(
            edge=self.edge_loss(output[:, :1], F.avg_pool2d(edge, edge.shape[-1] // mask.shape[-1]), hidden, hidden))
        if self.hog_loss is not None:
            cells = hog(images, self.hog_bins, self.hog_cell)
            losses['hog'] = self.hog_loss(
                F.adaptive_avg_pool2d(output[:, 1:], cells.shape[-2:]), cells,
                F.adaptive_avg_pool2d(hidden, cells.shape[-2:]))
        return losses
