import torch
from torch import Tensor, nn

from egmim_mm.registry import MODELS

from ..losses import CosineAnchorLoss
from .base import LossTerm, MaskedBatch
from .teachers import copy_weights, frozen_copy


@MODELS.register_module()
class AnchorTerm(LossTerm):
    """L_anchor: holds the student's stage 3 near that of the weights it started from.

    The teacher is a frozen copy of the backbone up to stage 3, without mask token, always in eval mode, that sees the
    whole images. All its tensors are buffers: they are saved with the model, so that a resumed run has the same
    teacher, but belong to no optimizer. Their names hold ``teacher.``, so ``--backbone`` never takes them for the
    student's.

    The term is bounded (see :class:`CosineAnchorLoss`), and is not rescaled like the others: it starts near zero,
    where a scale would mean nothing.

    Args:
        weight: Factor of the term.
    """

    name = 'anchor'
    stages = (2, )  # stage 3, stride 16
    place_by_place = False  # maps are pooled, and a decoder's are not the backbone's
    rescaled = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.loss = CosineAnchorLoss()

    def connect(self, backbone: nn.Module) -> None:
        self.teacher = frozen_copy(backbone, self.stages)
        self.train(False)

    def begin(self, backbone: nn.Module) -> None:
        """Take over the weights that the student has now."""
        copy_weights(self.teacher, backbone)

    def init_weights(self) -> None:
        """Nothing: the teacher gets its weights in :meth:`begin`, and drawing some would move the random numbers."""

    def train(self, mode: bool = True) -> 'AnchorTerm':
        """Stays in eval mode whatever is asked for."""
        return super().train(False)

    def losses(self, prediction: None, batch: MaskedBatch) -> dict[str, Tensor]:
        """Distance to the teacher in [0, 2]."""
        with torch.no_grad():
            teacher, = self.teacher(batch.inputs)
        return dict(anchor=self.loss(batch.encoded[self.stages[0]], teacher, batch.mask.flatten(1).any(1)))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        # MMEngine only logs what is missing; a run would go on with a random teacher
        if not any(key.startswith(prefix) for key in state_dict):
            raise ValueError('the checkpoint holds no anchor: it is from a run without AnchorTerm in model.terms. '
                             'Resume without it, or start a new run from it with --backbone')
        super()._load_from_state_dict(state_dict, prefix, *args)
