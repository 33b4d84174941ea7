import copy

import torch
from torch import Tensor, nn

from ..losses import CosineAnchorLoss


class FeatureAnchor(nn.Module):
    """Holds the student's stage 3 near that of the weights it started from: weight * L_anchor.

    The teacher is a frozen copy of the backbone up to stage 3, without mask token, always in eval mode. All its
    tensors are buffers: they are saved with the model, so that a resumed run has the same teacher, but belong to no
    optimizer. Their names begin with ``anchor.``, so ``--backbone`` never takes them for the student's.

    The term is bounded (see :class:`CosineAnchorLoss`), and is not rescaled like the others: it starts near zero,
    where a scale would mean nothing.

    Args:
        backbone (nn.Module): The student, a masked Swin whose ``out_indices`` include stage 3 (index 2).
        weight (float): Factor of the term, > 0.

    Raises:
        ValueError: Stage 3 is not returned, or ``weight`` is not positive.
    """

    stage = 2  # index of stage 3, stride 16

    def __init__(self, backbone: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        if weight <= 0:
            raise ValueError(f'anchor: weight must be above 0, got {weight}; anchor=None turns it off')
        if self.stage not in backbone.out_indices:
            raise ValueError('anchor compares stage 3: model.backbone.out_indices must include 2, '
                             f'got {tuple(backbone.out_indices)}')
        self.weight = weight
        self.loss = CosineAnchorLoss()
        self.teacher = copy.deepcopy(backbone)
        self.teacher.keep_stages(self.stage)
        for module in self.teacher.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())
        self.train(False)

    @torch.no_grad()
    def remember(self, backbone: nn.Module) -> None:
        """Take over the weights that the student has now."""
        weights = backbone.state_dict()
        for name, buffer in self.teacher.state_dict().items():
            buffer.copy_(weights[name])

    def train(self, mode: bool = True) -> 'FeatureAnchor':
        """Stays in eval mode whatever is asked for."""
        return super().train(False)

    def forward(self, student: Tensor, inputs: Tensor, counted: Tensor) -> Tensor:
        """Distance to the teacher, not weighted yet.

        Args:
            student (Tensor): (B, C, H / 16, W / 16) features of the masked image.
            inputs (Tensor): (B, bands, H, W) whole normalised images.
            counted (Tensor): (B,) bool; other samples contribute 0.

        Returns:
            Tensor: Scalar in [0, 2].
        """
        with torch.no_grad():
            teacher, = self.teacher(inputs)
        return self.loss(student, teacher, counted)
