from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.edges import hog, image_quantile
from egmim_mm.registry import MODELS

from .base import LossTerm, MaskedBatch


@MODELS.register_module()
class EdgeStructureHead(BaseModule):
    """Maps at stride 4 from stages 1 and 2 (strides 4 and 8).

    Both are projected by 1x1 convolutions, the deeper one upsampled and added, then a 3x3 convolution predicts. It
    starts at zero, so that the first steps, in which the head knows nothing, do not disturb pretrained stages.

    Args:
        in_channels: Channels of stages 1 and 2.
        channels: Width of the head; 64 keeps its cost a few percent of the backbone's.
        out_channels: Number of maps.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 64, out_channels: int = 10,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.project = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.predict = nn.Sequential(nn.GELU(), nn.Conv2d(channels, out_channels, 3, padding=1))
        for parameter in self.predict[1].parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # as the features: upsampling and 1x1 are several times faster

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """[(B, C1, H/4, W/4), (B, C2, H/8, W/8)] -> (B, out_channels, H/4, W/4)."""
        shallow, deep = (project(f) for project, f in zip(self.project, features))
        return self.predict(shallow + F.interpolate(deep, size=shallow.shape[-2:], mode='bilinear'))


@MODELS.register_module()
class StructureTerm(LossTerm):
    """L_edge and L_hog: edge strength and HOG of hidden areas, from stages 1 and 2.

    SimMIM supervises the last stage only, while UperNet reads all four. One head predicts both: edge strength at
    stride 4 and, averaged to 8-px cells, HOG. It is dropped after pretraining.

    Args:
        channels: Width of the head.
        hog_bins: Orientation bins of the HOG target; 0 = no HOG. 9 as in MaskFeat.
        edge_loss, hog_loss: Configs of the losses. The smooth L1's transition at 0.1 is a tenth of the range of
            edge strength.
        weight: lambda, of both losses.
    """

    name = 'structure'
    stages = (0, 1)
    hog_cell = 8  # px, the stride of stage 2

    def __init__(self,
                 channels: int = 64,
                 hog_bins: int = 9,
                 edge_loss: dict = dict(type='egmim_mm.EdgeWeightedL1Loss', gamma=0.0, beta=0.1),
                 hog_loss: dict = dict(type='egmim_mm.CellMSELoss'),
                 weight: float = 0.5,
                 init_cfg: dict | None = None) -> None:
        super().__init__(weight, init_cfg)
        self.channels, self.hog_bins = channels, hog_bins
        self.edge_loss = MODELS.build(edge_loss)
        self.hog_loss = MODELS.build(hog_loss) if hog_bins else None

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ('edge', 'hog') if self.hog_bins else ('edge', )

    def connect(self, backbone: nn.Module) -> None:
        self.head = EdgeStructureHead(backbone.num_features[:2], self.channels, 1 + self.hog_bins)

    def predict(self, batch: MaskedBatch) -> Tensor:
        """(B, 1 + hog_bins, H / 4, W / 4): edge strength, then HOG."""
        return self.head([batch.features[0], batch.features[1]])

    def losses(self, prediction: Tensor, batch: MaskedBatch) -> dict[str, Tensor]:
        strength, counted = self._edge_target(batch)
        losses = dict(edge=self.edge_loss(prediction[:, :1], strength, counted, counted))
        if self.hog_loss is not None:
            cells, share = self._hog_target(batch)
            losses['hog'] = self.hog_loss(F.adaptive_avg_pool2d(prediction[:, 1:], cells.shape[-2:]), cells, share)
        return losses

    def constant_losses(self, batch: MaskedBatch) -> dict[str, Tensor]:
        """Of the median edge strength, and of the mean HOG, of the hidden cells of each image."""
        strength, counted = self._edge_target(batch)
        constant = image_quantile(strength, 0.5, counted > 0)
        losses = dict(edge=self.edge_loss(constant.expand_as(strength), strength, counted, counted))
        if self.hog_loss is not None:
            cells, share = self._hog_target(batch)
            total = share.sum((2, 3), keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
            constant = (cells * share).sum((2, 3), keepdim=True) / total
            losses['hog'] = self.hog_loss(constant.expand_as(cells), cells, share)
        return losses

    @staticmethod
    def _edge_target(batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """Edge strength of the tokens (B, 1, h, w), and 1 where it is to be predicted."""
        hidden = batch.mask[:, None].float()
        return F.avg_pool2d(batch.edge, batch.edge.shape[-1] // hidden.shape[-1]), _whole(batch.known, hidden)

    def _hog_target(self, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """HOG of the cells (B, bins, h, w), and the share of each (B, 1, h, w) that is to be predicted."""
        cells = hog(batch.images, self.hog_bins, self.hog_cell)
        return cells, _whole(batch.known, F.adaptive_avg_pool2d(batch.mask[:, None].float(), cells.shape[-2:]))


def _whole(known: Tensor | None, hidden: Tensor) -> Tensor:
    """(B, 1, h, w) hidden shares of cells, 0 where a pixel of the cell is not ``known``: the seam of no data."""
    if known is None:
        return hidden
    return hidden * (F.adaptive_max_pool2d((~known).float(), hidden.shape[-2:]) == 0)
