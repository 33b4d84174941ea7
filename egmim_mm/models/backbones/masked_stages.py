from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmengine.model.weight_init import initialize, trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from .patch_merging import merge_tokens
from .recomputation import replace_checkpointing
from .visible_map import VisibleMap, cell_places, gather_cells, kept_cells, token_places
from .window_attention import replace_attention


class MaskedStages:
    """What the masked Swin backbones share: hidden tokens, stages read before patch merging, initial values.

    Comes before a Swin of MMPretrain in the bases of a class, which adds :meth:`run_stage` and ``num_features``.

    Args:
        out_indices: Stages to return; each has a LayerNorm ``norm{i}``.
        use_mask_token: Whether there is a mask token.
        encode: What is encoded of a masked image: 'dense', the whole map with mask tokens, or 'visible', the kept
            cells alone, a quarter of the tokens. Parameters, and encoding without a mask, are the same.
        cell_size: Side of the cells of the masks, px, for 'visible': 16, or a multiple of 32.
        kwargs: Of the Swin.

    Raises:
        ValueError: ``out_indices`` that do not exist, absolute position embeddings, or another ``encode`` or cell.
    """

    def __init__(self, *, out_indices: Sequence[int], use_mask_token: bool, encode: str = 'dense',
                 cell_size: int = 16, **kwargs) -> None:
        if encode not in ('dense', 'visible'):
            raise ValueError(f"backbone.encode must be 'dense' or 'visible', got {encode!r}")
        if encode == 'visible' and cell_size != 16 and (cell_size <= 0 or cell_size % 32):
            raise ValueError(f'backbone.cell_size = {cell_size} px must be 16 or a multiple of 32 for '
                             "encode='visible': patch merging up to stage 3 must stay inside a cell")
        out_indices = tuple(sorted(out_indices))  # the order in which they are returned
        if not out_indices or not set(out_indices) <= {0, 1, 2, 3}:
            raise ValueError(f'out_indices must name stages out of 0, 1, 2, 3, got {out_indices}')
        super().__init__(out_indices=out_indices, **kwargs)
        self.encode, self.cell_size = encode, cell_size
        if self.use_abs_pos_embed:
            raise ValueError('absolute position embeddings are not supported: Swin has relative ones')
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if use_mask_token else None
        replace_attention(self.stages)
        replace_checkpointing(self)

    def init_weights(self) -> None:
        """Truncated normal (0.02) as SimMIM and timm do, then the checkpoint of ``init_cfg`` if there is one."""
        # MMEngine would run the children's defaults after most init_cfg types; here a checkpoint comes last
        init_cfg, self.init_cfg = self.init_cfg, None
        super().init_weights()
        self.init_layers()
        self.init_cfg = init_cfg
        if init_cfg:
            initialize(self, init_cfg)
        self.init_mask_token()

    def init_layers(self) -> None:
        """Initial values of a new backbone."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @torch.no_grad()
    def init_mask_token(self) -> None:
        """Give a mask token that is still zero (supervised checkpoints have none) its initial values."""
        if self.mask_token is not None and not self.mask_token.any():
            trunc_normal_(self.mask_token, std=0.02)

    @abstractmethod
    def run_stage(self, index: int, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Output (B, L, C) of stage ``index - 1``, or the tokens -> output of stage ``index`` and its (h, w)."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Feature maps of the stages ``out_indices``.

        Args:
            x: (B, C, H, W) normalised images.
            mask: (B, H / 4, W / 4) bool, True = hidden.

        Returns:
            Per stage i: (B, C_i, H / 2^(i+2), W / 2^(i+2)); with a mask and ``encode='visible'`` of the kept cells,
            moved together, so H and W are halved.

        Raises:
            ValueError: The mask has another number of tokens, there is no mask token, or the image does not divide
                into blocks of cells.
        """
        if mask is not None and self.encode == 'visible':
            return self._encode_kept(x, mask)
        x, hw_shape = self.patch_embed(x)  # (B, L, C)
        if mask is not None:
            if self.mask_token is None:
                raise ValueError('this backbone was built with use_mask_token=False and cannot hide tokens')
            if tuple(mask.shape[1:]) != tuple(hw_shape):
                raise ValueError(f'mask is {tuple(mask.shape[1:])} tokens, the image has {tuple(hw_shape)}')
            hidden = mask.flatten(1).unsqueeze(-1)  # (B, L, 1)
            x = torch.where(hidden, self.mask_token.to(x.dtype), x)
        return self._run_stages(x, hw_shape)

    def _encode_kept(self, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        block, tokens = 2 * self.cell_size, tuple(side // 4 for side in x.shape[-2:])
        if x.shape[-2] % block or x.shape[-1] % block:
            raise ValueError(f'image size {x.shape[-2]} x {x.shape[-1]} px must be divisible by {block} px, the blocks '
                             "of 2 x 2 cells of encode='visible': set the crop size of the pipeline")
        if tuple(mask.shape[1:]) != tokens:
            raise ValueError(f'mask is {tuple(mask.shape[1:])} tokens, the image has {tokens}')
        return self.encode_cells(x, cell_places(kept_cells(mask, self.cell_size // 4)))

    def encode_cells(self, x: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of some cells of images (B, C, H, W), moved together.

        Args:
            x: Normalised images.
            places: (B, 2, r, c) int64, row and column of the cells among all cells of ``cell_size`` px.

        Returns:
            Per stage i of ``out_indices``: (B, C_i, r cell_size / 2^(i+2), c cell_size / 2^(i+2)), rounded up.
        """
        x, _ = self.patch_embed(gather_cells(x, places, self.cell_size))
        return self._run_stages(x, token_places(places, self.cell_size // 4))

    def every_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of all stages of whole images (B, C, H, W), to look at.

        Those of ``out_indices`` as :meth:`forward` returns them, the others, which have no norm of their own,
        normalised to mean 0 and variance 1 at each place.
        """
        return self._run_stages(*self.patch_embed(x), every=True)

    def _run_stages(self, x: Tensor, hw_shape: tuple[int, int], every: bool = False) -> tuple[Tensor, ...]:
        x = self.drop_after_pos(x)
        outs = []
        for i in range(len(self.stages)):
            x, hw_shape = self.run_stage(i, x, hw_shape)
            if every or i in self.out_indices:
                out = getattr(self, f'norm{i}')(x) if i in self.out_indices else F.layer_norm(x, x.shape[-1:])
                out = out.view(-1, *hw_shape, self.num_features[i])
                outs.append(out.permute(0, 3, 1, 2))  # channels last in memory: no copy, and what heads are faster on
        return tuple(outs)

    def merge_patches(self, merging: nn.Module, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Patch merging of tokens (B, L, C) of an (h, w), which may be a :class:`VisibleMap`."""
        x, merged = merge_tokens(merging, x, hw_shape)
        return x, hw_shape.merged() if isinstance(hw_shape, VisibleMap) else merged

    def keep_stages(self, *stages: int) -> None:
        """Return these stages alone, and drop what they do not need: deeper stages, other norms, mask token."""
        for i in self.out_indices:
            if i not in stages:
                delattr(self, f'norm{i}')
        del self.stages[max(stages) + 1:]
        self.out_indices = tuple(sorted(stages))
        self.mask_token = None
        self.frozen_stages = -1
