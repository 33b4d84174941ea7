from collections.abc import Iterable

import torch
from mmengine import dist
from torch import Tensor, nn

from egmim_mm.registry import MODELS

from .base import LossTerm


@MODELS.register_module()
class TermBalance(nn.Module):
    """Weighs the losses of the terms: ``L_pix + sum_k weight_k s_k L_k``.

    The scales s_k are 1 until step ``rescale_at``, when each is set once to ``L_pix / L_k`` of that step; they are
    saved with the model. Terms with ``rescaled = False`` have none.

    Args:
        terms: Terms of the model, with a loss ``pixel``.
        rescale_at: Step at which the scales are set; at most a tenth of the training.
    """

    def __init__(self, terms: Iterable[LossTerm], rescale_at: int = 200) -> None:
        super().__init__()
        self.rescale_at = rescale_at
        self.weights = {name: term.weight for term in terms for name in term.loss_names}
        self.rescaled = tuple(name for term in terms if term.rescaled for name in term.loss_names)
        self.register_buffer('scale', torch.zeros(len(self.rescaled)))  # 0 = not set yet
        self._is_set = False  # whether scale is; None = look, weights were loaded

    def forward(self, values: dict[str, Tensor], iteration: int, max_iters: int) -> dict[str, Tensor]:
        """Values of the terms by name -> ``loss_<name>``, to be summed, and unweighted ``<name>`` for the log.

        Args:
            values: Scalars of all terms.
            iteration: Steps done; the scales are set in training mode only.
            max_iters: Steps of the run.
        """
        if self.is_due(iteration, max_iters):
            self.set_scales(values)
        scales = dict(zip(self.rescaled, torch.where(self.scale > 0, self.scale, torch.ones_like(self.scale))))
        losses = dict(loss_pixel=values['pixel'])
        for name, value in values.items():
            if name != 'pixel':
                weight = self.weights[name]
                losses[f'loss_{name}'] = (weight * scales[name] if name in scales else weight) * value
                losses[name] = value.detach()
        return losses

    def is_due(self, iteration: int, max_iters: int) -> bool:
        """Whether this is the step whose losses set the scales; arguments as of :meth:`forward`."""
        # decided by Python values: looking at the buffer would make a GPU wait at every step
        if (self._is_set or not self.rescaled or not self.training
                or iteration < min(self.rescale_at, max_iters // 10)):
            return False
        if self._is_set is None:
            self._is_set = bool(self.scale.all())
        return not self._is_set

    @torch.no_grad()
    def set_scales(self, values: dict[str, Tensor]) -> None:
        """Set them from the losses of this process's share of a step, averaged over the processes."""
        sizes = torch.stack([values[name] for name in ('pixel', *self.rescaled)]).float()
        dist.all_reduce(sizes, 'mean')
        if sizes[0] > 0:  # else nothing is hidden anywhere in this batch: the next one decides
            # at most 100: a batch that happens to have no edges must not set the balance of the whole run
            self.scale.copy_((sizes[0] / sizes[1:].clamp(min=1e-6)).clamp(1e-6, 100))
            self._is_set = True

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        # MMEngine only logs what does not fit; a run would go on with another balance
        scale = state_dict.get(f'{prefix}scale')
        if scale is not None and len(scale) != len(self.rescaled):
            raise ValueError(f'the checkpoint balances {len(scale)} auxiliary loss terms, this model has '
                             f'{len(self.rescaled)} ({", ".join(self.rescaled) or "none"}): resume with the '
                             'model.terms it was trained with, or start a new run from it with --backbone')
        self._is_set = None
        super()._load_from_state_dict(state_dict, prefix, *args)
