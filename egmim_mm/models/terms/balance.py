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
        return self._weigh(values)

    def _weigh(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
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


@MODELS.register_module()
class SkillBalance(TermBalance):
    """Weighs the losses by how much of what a constant leaves their predictions explain.

    Dividing by the size of a loss, as :class:`TermBalance` does, blows up a term whose target is mostly noise: it is
    small because its unit is, and stays as it is. The zero of a term is the loss c_k of the best constant of each
    image; its skill is ``e_k = 1 - L_k / c_k`` (Murphy, Monthly Weather Review 116, 1988): 0 for a constant, 1 for
    the truth. With running means of L and c,

        ``s_k = L_pix / L_k * clip(e_k / e_pix, least, 1)``.

    So no term ever weighs more than under :class:`TermBalance`, one that is explained as well as pixels weighs
    the same, one that hardly beats a constant weighs ``least`` of that, and follows when it learns. (Making the
    reductions ``c_k - L_k`` of all terms equal would do the opposite: the less a term can be reduced, the more it would
    weigh.) Adam makes the steps of a head that serves one term independent of its scale, so that its head can learn
    whatever ``s_k`` is.

    The scales of a step follow from the steps before it, so they are those of the whole batch however it is shared out.
    Until something is measured they are 1, and 1 is the most they are while pixels are not better than a constant.
    Terms without a zero (see :meth:`LossTerm.constant_losses`) get ``L_pix / L_k``.

    Args:
        terms: Terms of the model, with a loss ``pixel``.
        least: Smallest share of TermBalance's scale, in [0, 1].
        every: Steps between two measurements, which are averaged over the last ten or so.

    Raises:
        ValueError: A setting out of range.
    """

    def __init__(self, terms: Iterable[LossTerm], least: float = 0.1, every: int = 10) -> None:
        super().__init__(terms)
        if not 0 <= least <= 1 or every < 1:
            raise ValueError(f'model.balance: least must be in 0..1 and every at least 1, got {least} and {every}')
        self.least, self.every = least, every
        # losses and those of constants, of pixels and of the terms that are rescaled; 0 = no constant
        self.register_buffer('level', torch.zeros(2, 1 + len(self.rescaled)))
        self.register_buffer('measured', torch.zeros(()))  # measurements in level
        self.register_buffer('pending', torch.zeros(2, 1 + len(self.rescaled)))  # sum over the parts of a step
        self.register_buffer('parts', torch.zeros(()))

    def is_due(self, iteration: int, max_iters: int) -> bool:
        """Never: what this balance needs is known before the step."""
        return False

    def is_measured(self, iteration: int) -> bool:
        """Whether :meth:`measure` is to be called in this step, for each of its parts."""
        return self.training and bool(self.rescaled) and iteration % self.every == 0

    @torch.no_grad()
    def measure(self, values: dict[str, Tensor], constants: dict[str, Tensor]) -> None:
        """Take note of the losses of a part of this step, and of those of constants; they count from the next step."""
        names, zero = ('pixel', *self.rescaled), self.level.new_zeros(())
        now = torch.stack([torch.stack([values[name] for name in names]).float(),
                           torch.stack([constants.get(name, zero) for name in names]).float()])
        dist.all_reduce(now, 'mean')
        self.pending += now
        self.parts += 1

    def forward(self, values: dict[str, Tensor], iteration: int, max_iters: int) -> dict[str, Tensor]:
        return self._weigh(values)

    @torch.no_grad()
    def begin_step(self) -> None:
        """Let what was measured in the step before count; no value is looked at, which would make a GPU wait."""
        now = self.pending / self.parts.clamp(min=1)
        fresh = (self.parts > 0) & (now[0, 0] > 0)  # else nothing was hidden anywhere
        self.measured += fresh
        rate = (1 / self.measured.clamp(min=1)).clamp(min=0.1) * fresh
        self.level += rate * (now - self.level)
        self.pending.zero_()
        self.parts.zero_()
        loss, constant = self.level
        size = (loss[0] / loss[1:].clamp(min=1e-6)).clamp(1e-6, 100)  # TermBalance's
        skill = 1 - loss / constant.clamp(min=1e-6)
        share = (skill[1:] / skill[0].clamp(min=1e-3)).clamp(self.least, 1)
        share = torch.where(constant[1:] > 0, share, 1.0)
        scale = torch.where(skill[0] > 0, size * share, (size * share).clamp(max=1)).clamp(min=1e-6)  # 0 = not set
        self.scale.copy_(torch.where(self.measured > 0, scale, 0.0))
