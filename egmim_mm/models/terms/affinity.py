from collections.abc import Iterator, Sequence

import torch
from mmengine.model import ModuleDict
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.edges.paths import corner_maximum, pair, path_maximum, straight_offsets
from egmim_mm.registry import MODELS

from .base import LossTerm, MaskedBatch

EDGES = ('own', 'other', 'shuffled', 'uniform')
_FORMS = ('bce', 'margin')
_CELL = 16  # px, of shuffled edges: the cells of the default mask


def edges_of(edge: Tensor, which: str) -> Tensor:
    """The edge strength that a term uses, or one of its controls.

    Args:
        edge: (B, 1, H, W) edge strength.
        which: ``own``; ``other``, that of the next image of the batch; ``shuffled``, the own with cells of 16 px in
            random order; ``uniform``, 0 everywhere.

    Raises:
        ValueError: ``other`` with a single image.
    """
    if which == 'own':
        return edge
    if which == 'uniform':
        return torch.zeros_like(edge)
    if which == 'other':
        if len(edge) == 1:
            raise ValueError("edges='other' takes the edges of the next image, but one image is computed at a time: "
                             'raise train_cfg.max_batch_per_process to 2 or more')
        return edge.roll(1, 0)
    batch, _, height, width = edge.shape
    cells = F.unfold(edge, _CELL, stride=_CELL)  # (B, 256, cells)
    order = torch.rand(batch, 1, cells.shape[-1], device=edge.device).argsort(-1)
    return F.fold(cells.gather(2, order.expand_as(cells)), (height, width), _CELL, stride=_CELL)


@MODELS.register_module()
class EdgeAffinityTerm(LossTerm):
    """L_affinity: neighbouring tokens that no edge separates agree, those on two sides of a strong edge differ.

    A pair of tokens is alike if the largest edge strength on the straight line between their centres is at most
    ``low``, and apart if it is at least ``high``; others do not count, nor do pairs with pixels of no data in a token
    or on the line. With s the cosine similarity of their features::

        form='bce'      alike: softplus(-z)   apart: softplus(z),   z = (s - margin) / temperature
        form='margin'   alike: 1 - s          apart: max(0, s - margin)

    The mean over pairs that are alike and that over those apart weigh the same in every image, however rare edges
    are: features that are the same everywhere pay for all pairs apart. Visible and hidden tokens count alike.

    The term is this project's own. It is not rescaled.

    Args:
        stages: Indices of the stages, 0 to 3; the loss is the mean over them.
        radius: Largest distance of a pair along a row, a column or a diagonal, tokens.
        low, high: Bounds of the edge strength, in [0, 1].
        form: ``bce`` or ``margin``.
        temperature: Of ``bce``.
        margin: Similarity that is neither alike nor apart (``bce``), or at which pairs apart are left alone.
        project: Channels of a 1x1 convolution per stage whose output is compared, so that the features of the backbone
            keep what the term does not ask for; 0 = the features themselves.
        edges: Where edges are taken from. The others are controls: ``other``, the next image of the batch;
            ``shuffled``, the own with cells of 16 px in random order; ``uniform``, none, so that all neighbours are
            alike.
        weight: Factor of the loss.

    Raises:
        ValueError: A setting out of its range; in training, ``other`` with a single image.
    """

    name = 'affinity'
    rescaled = False

    def __init__(self,
                 stages: Sequence[int] = (0, 1, 2),
                 radius: int = 2,
                 low: float = 0.15,
                 high: float = 0.5,
                 form: str = 'bce',
                 temperature: float = 0.2,
                 margin: float = 0.5,
                 project: int = 64,
                 edges: str = 'own',
                 weight: float = 0.5,
                 init_cfg: dict | None = None) -> None:
        super().__init__(weight, init_cfg)
        if edges not in EDGES or form not in _FORMS:
            raise ValueError(f'EdgeAffinityTerm: edges must be one of {", ".join(EDGES)} and form one of '
                             f'{", ".join(_FORMS)}, got {edges!r} and {form!r}')
        if not 0 <= low < high <= 1:
            raise ValueError(f'EdgeAffinityTerm: 0 <= low < high <= 1 must hold, got low={low} and high={high}')
        if radius < 1 or temperature <= 0 or project < 0 or not -1 < margin < 1:
            raise ValueError(f'EdgeAffinityTerm: radius={radius} must be 1 or more, temperature={temperature} above 0, '
                             f'project={project} 0 or more and margin={margin} between -1 and 1')
        if not stages or not set(stages) <= {0, 1, 2, 3}:
            raise ValueError(f'EdgeAffinityTerm: stages must name some of 0, 1, 2, 3, got {tuple(stages)}')
        self.stages, self.offsets = tuple(stages), straight_offsets(radius)
        self.low, self.high, self.form, self.edges = low, high, form, edges
        self.temperature, self.margin, self.channels = temperature, margin, project

    def connect(self, backbone: nn.Module) -> None:
        self.project = ModuleDict({
            str(i): nn.Linear(backbone.num_features[i], self.channels) if self.channels else nn.Identity()
            for i in self.stages})

    def predict(self, batch: MaskedBatch) -> dict[int, Tensor]:
        """Stage -> (B, h, w, channels) of length 1, in the precision of the features."""
        found = {i: self.project[str(i)](batch.features[i].permute(0, 2, 3, 1)) for i in self.stages}
        return {i: x * x.float().square().sum(-1, keepdim=True).clamp(min=1e-12).rsqrt().to(x.dtype)
                for i, x in found.items()}

    def losses(self, prediction: dict[int, Tensor], batch: MaskedBatch) -> dict[str, Tensor]:
        corners = corner_maximum(edges_of(batch.edge, self.edges))
        known = batch.valid if batch.known is None else batch.known  # at the seam of no data the prior is 0, not flat
        missing = None if known is None else corner_maximum((~known).float())
        parts = []
        for x in prediction.values():
            data = None if missing is None else batch.data_at(x.shape[1:3])[:, 0]
            parts.append(self._stage_loss(x, batch.edge.shape[-1] // x.shape[2], corners, missing, data))
        return dict(affinity=torch.stack(parts).mean())

    def _stage_loss(self, x: Tensor, stride: int, corners: Tensor, missing: Tensor | None,
                    data: Tensor | None) -> Tensor:
        sums = corners.new_zeros(4, len(x))  # loss and number of the pairs alike, of the pairs apart
        for offset, similarity in self._similarities(x):
            strength = path_maximum(corners, stride, offset)
            alike, apart = strength <= self.low, strength >= self.high
            if missing is not None:
                here, there = pair(data, offset)
                counted = (here * there > 0) & (path_maximum(missing, stride, offset) == 0)
                alike, apart = alike & counted, apart & counted
            pull, push = self._costs(similarity)
            sums = sums + torch.stack([part.sum((1, 2)) for part in (pull * alike, alike, push * apart, apart)])
        return 0.5 * (sums[0] / sums[1].clamp(min=1) + sums[2] / sums[3].clamp(min=1)).mean()

    def _similarities(self, x: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """(B, h, w, C) of length 1 -> for every offset (B, h - down, w - |right|) float32 cosine similarities."""
        products: dict[int, Tensor] = {}
        for down, right in self.offsets:
            if down >= x.shape[1] or abs(right) >= x.shape[2]:
                continue  # a small map
            if down not in products:
                # whole rows by whole rows: a few matrix products are faster than shifted maps, mostly in the gradient
                products[down] = x[:, :x.shape[1] - down] @ x[:, down:].transpose(2, 3)
            yield (down, right), products[down].diagonal(right, 2, 3).float()

    def _costs(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Costs of pairs if they are alike, and if they are apart."""
        if self.form == 'margin':
            return 1 - similarity, F.relu(similarity - self.margin)
        z = (similarity - self.margin) / self.temperature
        return F.softplus(-z), F.softplus(z)
