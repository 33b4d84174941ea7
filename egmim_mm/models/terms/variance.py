from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.registry import MODELS

from ..backbones.visible_map import cell_places, gather_cells, kept_cells
from .base import LossTerm, MaskedBatch

_PLACES = 1024  # of a batch that are compared pair by pair: more cost much and tell little


@MODELS.register_module()
class VarianceCovarianceTerm(LossTerm):
    """Against dimensional collapse: every channel varies over the places of a batch, and no two vary together.

    With C the covariance (D x D) of the features over places and images, and x^ the features of length 1::

        L_variance   = mean_d max(0, target - sqrt(C_dd + 1e-4))
        L_covariance = sum_{d != e} C_de^2 / D
        L_uniformity = log mean_{i != j} exp(-2 |x^_i - x^_j|^2)

    The first two are VICReg's (Bardes et al., ICLR 2022), the third is Wang and Isola's (ICML 2020). All are averaged
    over the stages; the log holds them times their factors here. They are not rescaled. The statistics are those of
    the images that a process computes at once: unlike other terms they depend on how a batch is shared out. Features
    are the backbone's own, with ``encode='visible'`` those of the visible cells. Places with pixels of no data do not
    count.

    Args:
        stages: Indices of the stages, 0 to 3.
        target: Standard deviation that a channel need not exceed.
        variance, covariance, uniformity: Factors of the three; 0 = off. 1 to 0.04 is VICReg's ratio.
        weight: Factor of all.

    Raises:
        ValueError: A negative factor or none above 0, ``target`` that is not positive, or unknown stages.
    """

    name = 'spread'
    place_by_place = False
    rescaled = False

    def __init__(self,
                 stages: Sequence[int] = (3, ),
                 target: float = 1.0,
                 variance: float = 1.0,
                 covariance: float = 0.04,
                 uniformity: float = 0.0,
                 weight: float = 0.1,
                 init_cfg: dict | None = None) -> None:
        super().__init__(weight, init_cfg)
        factors = dict(variance=variance, covariance=covariance, uniformity=uniformity)
        if min(factors.values()) < 0 or not any(factors.values()) or target <= 0:
            raise ValueError(f'VarianceCovarianceTerm: {factors} must be 0 or more, one of them above 0, and '
                             f'target={target} above 0')
        if not stages or not set(stages) <= {0, 1, 2, 3}:
            raise ValueError(f'VarianceCovarianceTerm: stages must name some of 0, 1, 2, 3, got {tuple(stages)}')
        self.stages, self.target = tuple(stages), target
        self.factors = {name: factor for name, factor in factors.items() if factor}

    @property
    def loss_names(self) -> tuple[str, ...]:
        return tuple(self.factors)

    def connect(self, backbone: nn.Module) -> None:
        self.cell = backbone.cell_size if backbone.encode == 'visible' else None

    def losses(self, prediction: None, batch: MaskedBatch) -> dict[str, Tensor]:
        parts: dict[str, list[Tensor]] = {name: [] for name in self.factors}
        for stage in self.stages:
            x = batch.encoded[stage].float()
            counted = self._data(batch, x.shape[-2:]).flatten()
            x = x.permute(0, 2, 3, 1).flatten(0, 2)
            # a matrix product: bfloat16 would lose small covariances
            with torch.autocast(x.device.type, enabled=False):
                values = {}
                if 'variance' in parts or 'covariance' in parts:
                    values = self._moments(x, counted)
                if 'uniformity' in parts:
                    values['uniformity'] = self._uniformity(x, counted)
            for name in parts:
                parts[name].append(values[name])
        return {name: self.factors[name] * torch.stack(values).mean() for name, values in parts.items()}

    def _data(self, batch: MaskedBatch, size: Sequence[int]) -> Tensor:
        """(B, 1, h, w) float, 1 = a place of a map of the encoder whose pixels all hold data."""
        if batch.valid is None or self.cell is None:
            return batch.data_at(size)
        kept = gather_cells(batch.valid.float(), cell_places(kept_cells(batch.mask, self.cell // 4)), self.cell)
        return 1 - F.adaptive_max_pool2d(1 - kept, tuple(size))

    def _moments(self, x: Tensor, counted: Tensor) -> dict[str, Tensor]:
        count, channels = counted.sum().clamp(min=2), x.shape[1]
        centred = (x - (x * counted[:, None]).sum(0) / count) * counted[:, None]
        covariance = centred.T @ centred / (count - 1)
        variances = covariance.diagonal()
        apart = (covariance.square().sum() - variances.square().sum()) / channels
        return dict(variance=F.relu(self.target - (variances + 1e-4).sqrt()).mean(), covariance=apart)

    @staticmethod
    def _uniformity(x: Tensor, counted: Tensor) -> Tensor:
        every = -(-len(x) // _PLACES)
        x, counted = F.normalize(x[::every]), counted[::every]
        pairs = counted[:, None] * counted * (1 - torch.eye(len(x), device=x.device))
        closeness = torch.exp(4 * (x @ x.T - 1))  # -2 |a - b|^2 = 4 (a b - 1) for vectors of length 1
        return ((closeness * pairs).sum() / pairs.sum().clamp(min=1)).clamp(min=1e-12).log()
