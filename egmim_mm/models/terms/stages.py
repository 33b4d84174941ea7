from collections.abc import Sequence

import torch
from mmengine.model import ModuleDict
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.edges.oriented import oriented_edges
from egmim_mm.registry import MODELS

from ..losses import CellMSELoss, EdgeWeightedL1Loss
from .base import LossTerm, MaskedBatch
from .pixel import EdgeWeightedReconstructionHead


class _StageTerm(LossTerm):
    """A target for each of some stages, through a linear head of its own, which starts at zero.

    As LocalMIM (Wang et al., CVPR 2023) supervises every stage at its scale. Heads that begin with nothing do not
    disturb pretrained stages in the first steps. They are dropped after pretraining.
    """

    def __init__(self, stages: Sequence[int], weight: float, init_cfg: dict | None) -> None:
        super().__init__(weight, init_cfg)
        if not stages or not set(stages) <= {0, 1, 2, 3}:
            raise ValueError(f'{type(self).__name__}: stages must name some of 0, 1, 2, 3, got {tuple(stages)}')
        self.stages = tuple(stages)

    def connect(self, backbone: nn.Module) -> None:
        bands = backbone.patch_embed.projection.in_channels
        self.heads = ModuleDict({str(i): self.head(i, backbone.num_features[i], bands) for i in self.stages})
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def head(self, stage: int, channels: int, bands: int) -> nn.Module:
        """Layers that predict from (B, channels, h, w) of a stage."""
        raise NotImplementedError

    def predict(self, batch: MaskedBatch) -> dict[int, Tensor]:
        """Stage -> prediction."""
        return {i: self.heads[str(i)](batch.features[i]) for i in self.stages}


@MODELS.register_module()
class StageEdgesTerm(_StageTerm):
    """L_stage_edges: oriented edges at several scales of hidden areas, from shallow stages.

    Of each scale the strength and strength x coherence x (cos 2t, sin 2t) of the structure tensor, see
    :func:`egmim_mm.edges.oriented.oriented_edges`, averaged over the tokens of the stage; mean squared error, and the
    mean over stages.

    Args:
        stages: Indices of the stages, 0 to 3.
        rhos: Scales, px.
        floor: Smallest strength that may count as 1, luminance per px; 0.002 is half an 8-bit step.
        weight: Factor of the loss.

    Raises:
        ValueError: Unknown stages, no scale or one that is not positive.
    """

    name = 'stage_edges'

    def __init__(self, stages: Sequence[int] = (0, 1), rhos: Sequence[float] = (2.0, 6.0), floor: float = 0.002,
                 weight: float = 0.5, init_cfg: dict | None = None) -> None:
        super().__init__(stages, weight, init_cfg)
        if not rhos or min(rhos) <= 0 or floor < 0:
            raise ValueError(f'StageEdgesTerm: rhos={tuple(rhos)} must be scales above 0 px and floor={floor} 0 or '
                             'more')
        self.rhos, self.floor = tuple(rhos), floor
        self.loss = CellMSELoss()

    def head(self, stage: int, channels: int, bands: int) -> nn.Module:
        return nn.Conv2d(channels, 3 * len(self.rhos), 1).to(memory_format=torch.channels_last)

    def losses(self, prediction: dict[int, Tensor], batch: MaskedBatch) -> dict[str, Tensor]:
        target = oriented_edges(batch.images, self.rhos, floor=self.floor, valid=batch.valid)
        parts = []
        for predicted in prediction.values():
            size = predicted.shape[-2:]
            parts.append(self.loss(predicted, F.adaptive_avg_pool2d(target, size),
                                   batch.hidden_at(size) * batch.data_at(size)))
        return dict(stage_edges=torch.stack(parts).mean())


@MODELS.register_module()
class StagePixelsTerm(_StageTerm):
    """L_stage_pixels: the hidden pixels of every band from other stages than the last, each at its stride.

    The loss is L_pix with these heads, averaged over the stages; it has its size, and is not rescaled.

    Args:
        stages: Indices of the stages, 0 to 3. Stage 4 (3) has :class:`PixelTerm` already.
        gamma: Extra weight of a full-strength edge.
        weight: Factor of the loss.

    Raises:
        ValueError: Unknown stages.
    """

    name = 'stage_pixels'
    rescaled = False

    def __init__(self, stages: Sequence[int] = (2, ), gamma: float = 1.0, weight: float = 0.5,
                 init_cfg: dict | None = None) -> None:
        super().__init__(stages, weight, init_cfg)
        self.loss = EdgeWeightedL1Loss(gamma)

    def head(self, stage: int, channels: int, bands: int) -> nn.Module:
        return EdgeWeightedReconstructionHead(channels, bands, encoder_stride=4 << stage)

    def losses(self, prediction: dict[int, Tensor], batch: MaskedBatch) -> dict[str, Tensor]:
        hidden = batch.hidden if batch.valid is None else batch.hidden * batch.valid
        parts = [self.loss(predicted, batch.inputs, hidden, batch.edge) for predicted in prediction.values()]
        return dict(stage_pixels=torch.stack(parts).mean())
