"""Activation checkpointing (``with_cp``) in the form that PyTorch recommends; MMPretrain's is the older one."""
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.backbones.swin_transformer_v2 import SwinBlockV2
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ['replace_checkpointing']


class _Recomputed:
    """A block whose activations are computed again in the backward pass."""

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Tokens (B, H * W, C) and (H, W) -> (B, H * W, C)."""
        if not x.requires_grad:
            return super().forward(x, hw_shape)
        return checkpoint(super().forward, x, hw_shape, use_reentrant=False)


class _RecomputedSwinBlock(_Recomputed, SwinBlock):
    pass


class _RecomputedSwinBlockV2(_Recomputed, SwinBlockV2):
    pass


_RECOMPUTED = {SwinBlock: _RecomputedSwinBlock, SwinBlockV2: _RecomputedSwinBlockV2}


def replace_checkpointing(backbone: nn.Module) -> None:
    """Blocks of a Swin of MMPretrain that were built with ``with_cp=True`` do it themselves; parameters stay."""
    for module in backbone.modules():
        if type(module) in _RECOMPUTED and module.with_cp:
            # MMPretrain's sequence of blocks names the class it builds
            module.__class__, module.with_cp = _RECOMPUTED[type(module)], False
