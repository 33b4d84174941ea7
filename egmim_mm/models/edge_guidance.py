"""Registered, configured forms of :func:`egmim_mm.edges.edge_prior` and :func:`egmim_mm.masking.sample_mask`."""
import torch
from torch import Tensor, nn

from egmim_mm.edges import OPERATORS, edge_prior
from egmim_mm.masking import POLICIES, sample_mask
from egmim_mm.registry import MODELS


@MODELS.register_module()
class EdgePrior(nn.Module):
    """Edge strength of a batch, computed on its device.

    Args:
        operator (str): One of ``egmim_mm.edges.OPERATORS``.
        floor (float): Smallest luminance gradient (1/px, luminance in [0, 1]) that may count as full strength.
            The default is half an 8-bit step: only images without any structure fall below it.
        options: Passed to :func:`egmim_mm.edges.edge_prior`, for example ``sigma``.

    Raises:
        ValueError: Unknown operator.
    """

    def __init__(self, operator: str = 'gaussian_sobel', floor: float = 0.5 / 255, **options) -> None:
        super().__init__()
        if operator not in OPERATORS:
            raise ValueError(f'unknown edge operator {operator!r}; choose one of {", ".join(OPERATORS)}')
        self.operator = operator
        self.floor = floor
        self.options = options

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) float in [0, 1] -> (B, 1, H, W) in [0, 1]."""
        # autocast would quantise small gradients
        with torch.autocast(images.device.type, enabled=False):
            return edge_prior(images.float(), self.operator, self.floor, **self.options)


@MODELS.register_module()
class EdgeGuidedMaskGenerator(nn.Module):
    """Token masks of a batch, drawn on its device.

    Args:
        policy (str): One of ``egmim_mm.masking.POLICIES``.
        ratio (float): Share of hidden tokens; 0.6 as in SimMIM.
        cell_size, fine_cell_size (int): px, see :func:`egmim_mm.masking.sample_mask`.
        options: Further arguments of :func:`egmim_mm.masking.sample_mask`, for example ``beta``.

    Raises:
        ValueError: Unknown policy.
    """

    def __init__(self,
                 policy: str = 'edge_adaptive',
                 ratio: float = 0.6,
                 token_size: int = 4,
                 cell_size: int = 32,
                 fine_cell_size: int = 16,
                 **options) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f'unknown mask policy {policy!r}; choose one of {", ".join(POLICIES)}')
        self.options = dict(
            policy=policy,
            ratio=ratio,
            token_size=token_size,
            cell_size=cell_size,
            fine_cell_size=fine_cell_size,
            **options)

    def forward(self,
                edge: Tensor,
                progress: float,
                generator: torch.Generator | None = None,
                shard: tuple[int, int] = (0, 1)) -> Tensor:
        """(B, 1, H, W) edge strength -> (B, H / token_size, W / token_size) bool, True = hidden."""
        return sample_mask(edge, progress=progress, generator=generator, shard=shard, **self.options)
