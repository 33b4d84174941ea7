from collections.abc import Sequence

import torch
from mmengine.model import BaseModule, ModuleDict
from mmpretrain.models.backbones.swin_transformer import SwinBlockSequence
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones.visible_map import kept_cells
from .backbones.window_attention import replace_attention

_STRIDE = 16  # px of a token of the decoder: at larger ones tokens would span several of the smallest cells


class VisibleDecoder(BaseModule):
    """Whole feature maps from those of the visible cells, for loss terms that read them place by place.

    One layer on the encoder, as SimMIM has, could tell nothing of a hidden cell, which the encoder has not seen. So
    there are blocks of Swin at stride 16, where a window holds many cells: the stages are brought to that stride and
    added, the kept cells go to their places, the others get the backbone's mask token, and of what the blocks make of
    it there is a map for each stage. Stages 1 and 2 have a block of their own: from them pixels could be told without
    the deep stages, which would then learn little. None of it is used after pretraining.

    Args:
        backbone: Masked Swin with ``encode='visible'`` and a mask token.
        stages: Indices of the stages to read and to give maps of.
        channels: Width, a multiple of 16; half that of stage 3 by default.
        depth: Blocks for stages 3 and 4, every other one shifted.

    Raises:
        ValueError: ``channels`` or ``depth`` that do not fit.
    """

    def __init__(self, backbone: nn.Module, stages: Sequence[int], channels: int | None = None, depth: int = 2,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        channels = backbone.num_features[2] // 2 if channels is None else channels
        if channels <= 0 or channels % 16:
            raise ValueError(f'model.decoder.channels = {channels} must be a multiple of 16: a token at stride 16 is '
                             'cut into 16 parts for stride 4')
        if depth < 1:
            raise ValueError(f'model.decoder.depth = {depth} must be 1 or more: without a block a hidden cell knows '
                             'nothing of the visible ones')
        self.cell = backbone.cell_size // 4
        groups = dict(shallow=([i for i in stages if i < 2], 1), deep=([i for i in stages if i >= 2], depth))
        self.parts = ModuleDict({name: _Part(backbone, group, channels, blocks)
                                 for name, (group, blocks) in groups.items() if group})

    def init_weights(self) -> None:
        """Xavier's uniform, as MAE's decoder (He et al., CVPR 2022): maps come out as large as the backbone's."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
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
        kept = kept_cells(mask, self.cell)
        size = (mask.shape[1] * 4 // _STRIDE, mask.shape[2] * 4 // _STRIDE)
        maps: dict[int, Tensor] = {}
        for part in self.parts.values():
            maps.update(part(encoded, kept, size, mask_token))
        return maps


class _Part(nn.Module):
    """The decoder of some stages."""

    def __init__(self, backbone: nn.Module, stages: Sequence[int], channels: int, depth: int) -> None:
        super().__init__()
        self.enter = ModuleDict({str(i): _Enter(i, backbone.num_features[i], channels) for i in stages})
        self.mask_token = nn.Linear(backbone.embed_dims, channels)
        heads = max(n for n in (1, 2, 4, 8, 16, 32) if channels % (16 * n) == 0)
        window = backbone.stages[0].blocks[0].attn.window_size
        self.blocks = SwinBlockSequence(channels, depth, heads, window, pad_small_map=True)
        replace_attention([self.blocks])
        self.norm = nn.LayerNorm(channels)
        self.leave = ModuleDict({str(i): _Leave(i, backbone.num_features[i], channels) for i in stages})

    def forward(self, encoded: dict[int, Tensor], kept: Tensor, size: tuple[int, int],
                mask_token: Tensor) -> dict[int, Tensor]:
        height, width = size
        compact = sum(enter(encoded[int(i)].permute(0, 2, 3, 1))[:, :height // 2, :width // 2]
                      for i, enter in self.enter.items())
        x = spread(compact, self.mask_token(mask_token).to(compact.dtype), kept)
        x, _ = self.blocks(x.flatten(1, 2), size)
        x = self.norm(x).unflatten(1, size)
        return {int(i): leave(x).permute(0, 3, 1, 2) for i, leave in self.leave.items()}


def spread(compact: Tensor, hidden: Tensor, kept: Tensor) -> Tensor:
    """Put moved cells back to their places, and something else to those of the others.

    Args:
        compact: (B, h, w, C) map of the kept cells.
        hidden: (..., C) that stands for the other cells.
        kept: (B, r, c) cell of each 2 x 2 block, 0..3 in reading order; h and w are multiples of r and c.

    Returns:
        (B, 2 h, 2 w, C).
    """
    (batch, height, width, channels), (rows, columns) = compact.shape, kept.shape[1:]
    cells = compact.view(batch, rows, 1, height // rows, columns, 1, width // columns, channels)
    here = F.one_hot(kept, 4).bool().view(batch, rows, columns, 2, 2).transpose(2, 3)
    here = here.reshape(batch, rows, 2, 1, columns, 2, 1, 1)
    return torch.where(here, cells, hidden.view(-1)).reshape(batch, 2 * height, 2 * width, channels)


def gather_squares(x: Tensor, side: int) -> Tensor:
    """(B, h, w, C) -> (B, h / side, w / side, side^2 C): the tokens of each square as one."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(batch, height // side, width // side, side**2 * channels)


def cut_squares(x: Tensor, side: int) -> Tensor:
    """The inverse of :func:`gather_squares`."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height, width, side, side, channels // side**2)
    return x.transpose(2, 3).reshape(batch, height * side, width * side, -1)


class _Enter(nn.Module):
    """Map of stage i, (B, h, w, C_i) -> map at stride 16; only stage 4 may have mixed cells."""

    def __init__(self, stage: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.gather, self.cut = max(1, 4 >> stage), 2 if stage == 3 else 1
        self.project = nn.Linear(in_channels * self.gather**2, channels * self.cut**2)

    def forward(self, x: Tensor) -> Tensor:
        return cut_squares(self.project(gather_squares(x, self.gather)), self.cut)


class _Leave(nn.Module):
    """Map at stride 16 -> map of stage i; each token inside one of stride 16 has a part of its channels."""

    def __init__(self, stage: int, out_channels: int, channels: int) -> None:
        super().__init__()
        self.cut, self.gather = max(1, 4 >> stage), 2 if stage == 3 else 1
        self.mix = nn.Linear(channels, channels) if self.cut > 1 else nn.Identity()
        self.project = nn.Linear(channels * self.gather**2 // self.cut**2, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(gather_squares(cut_squares(self.mix(x), self.cut), self.gather))
