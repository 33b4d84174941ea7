import torch
from mmengine.model import BaseModule, ModuleDict
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.swin_transformer import SwinBlockSequence
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones.visible_map import kept_cells
from .backbones.window_attention import replace_attention

_STRIDE = 16  # px of a token of the decoder: the largest at which no token spans several of the smallest cells


class VisibleDecoder(BaseModule):
    """Whole feature maps from those of the visible cells, for loss terms that read them place by place.

    A one-layer head on the encoder, as SimMIM has, could tell nothing of a hidden cell, which the encoder has not seen. So
    there are two blocks of Swin at stride 16, on which a window holds many cells: the stages that terms read are brought
    to that stride and added, the kept cells go to their places, the others get the backbone's mask token, and from what
    the blocks make of it there is a map for each stage. Nothing of it is used after pretraining.

    Args:
        backbone: Masked Swin with ``encode='visible'``, a mask token and ``out_indices``.
        stages: Indices of the stages to read and to give maps of.
        channels: Width; half that of stage 3 by default. A multiple of 16.
        depth: Blocks; every other one is shifted.

    Raises:
        ValueError: ``channels`` or ``depth`` that do not fit.
    """

    def __init__(self, backbone: nn.Module, stages: tuple[int, ...], channels: int | None = None, depth: int = 2,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        channels = channels or backbone.num_features[2] // 2
        if channels <= 0 or channels % 16:
            raise ValueError(f'model.decoder.channels = {channels} must be a multiple of 16: maps at stride 4 are made '
                             'of 16 parts of it')
        if depth < 1:
            raise ValueError(f'model.decoder.depth = {depth} must be 1 or more: without a block a hidden cell knows '
                             'nothing of the visible ones')
        self.stages, self.side = tuple(stages), backbone.cell_size // 4
        sizes = {str(i): backbone.num_features[i] for i in stages}
        self.enter = ModuleDict({i: _Enter(int(i), size, channels) for i, size in sizes.items()})
        self.mask_token = nn.Linear(backbone.embed_dims, channels)
        heads = max(h for h in (1, 2, 4, 8, 16) if channels % h == 0 and channels // h >= 16)
        window = backbone.stages[0].blocks[0].attn.window_size
        self.blocks = SwinBlockSequence(channels, depth, heads, window, pad_small_map=True)
        replace_attention([self.blocks])
        self.norm = nn.LayerNorm(channels)
        self.leave = ModuleDict({i: _Leave(int(i), size, channels) for i, size in sizes.items()})

    def init_weights(self) -> None:
        """Truncated normal (0.02), as of the backbone."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, encoded: dict[int, Tensor], mask: Tensor, mask_token: Tensor) -> dict[int, Tensor]:
        """Maps of the visible cells -> maps of everything.

        Args:
            encoded: Stage i -> (B, C_i, H / 2^(i+3), W / 2^(i+3)), as the backbone returns them.
            mask: (B, H / 4, W / 4) bool that the backbone was given.
            mask_token: (1, 1, embed_dims) of the backbone.

        Returns:
            Stage i -> (B, C_i, H / 2^(i+2), W / 2^(i+2)).
        """
        height, width = mask.shape[1] * 4 // _STRIDE, mask.shape[2] * 4 // _STRIDE
        compact = sum(self.enter[str(i)](encoded[i])[..., :height // 2, :width // 2] for i in self.stages)
        hidden = self.mask_token(mask_token).view(1, -1, 1, 1)
        x = spread(compact, hidden.to(compact.dtype), kept_cells(mask, self.side)).permute(0, 2, 3, 1)
        x, _ = self.blocks(x.flatten(1, 2), (height, width))
        x = self.norm(x).view(-1, height, width, x.shape[-1]).permute(0, 3, 1, 2)
        return {i: self.leave[str(i)](x) for i in self.stages}


def spread(compact: Tensor, hidden: Tensor, kept: Tensor) -> Tensor:
    """Put moved cells back to their places, and something else to those of the others.

    Args:
        compact: (B, C, h, w) map of the kept cells.
        hidden: (1, C, 1, 1) value of the other cells.
        kept: (B, r, c) cell of each 2 x 2 block, 0..3 in reading order; h and w are multiples of r and c.

    Returns:
        (B, C, 2 h, 2 w).
    """
    (batch, channels, height, width), (rows, columns) = compact.shape, kept.shape[1:]
    cells = compact.view(batch, channels, rows, 1, height // rows, columns, 1, width // columns)
    here = F.one_hot(kept, 4).bool().view(batch, 1, rows, columns, 2, 2).transpose(3, 4)[..., None, :, :, None]
    here = here.transpose(-2, -3).view(batch, 1, rows, 2, 1, columns, 2, 1)
    return torch.where(here, cells, hidden[..., None, None, None, None]).reshape(batch, channels, 2 * height, 2 * width)


class _Enter(nn.Module):
    """Map of stage i -> map at stride 16; no two cells are mixed but by stage 4, whose tokens span four of 16 px."""

    def __init__(self, stage: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.down, self.up = max(1, 4 >> stage), 2 if stage == 3 else 1
        self.project = nn.Conv2d(in_channels * self.down**2, channels * self.up**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.project(F.pixel_unshuffle(x, self.down)), self.up)


class _Leave(nn.Module):
    """Map at stride 16 -> map of stage i, each of its tokens from a part of the channels of its own."""

    def __init__(self, stage: int, out_channels: int, channels: int) -> None:
        super().__init__()
        self.up, self.down = max(1, 4 >> stage), 2 if stage == 3 else 1
        self.mix = nn.Conv2d(channels, channels, 1) if self.up > 1 else nn.Identity()
        self.project = nn.Conv2d(channels * self.down**2 // self.up**2, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.pixel_unshuffle(F.pixel_shuffle(self.mix(x), self.up), self.down))
