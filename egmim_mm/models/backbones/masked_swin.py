from collections.abc import Sequence

import torch
from mmengine.model.weight_init import initialize, trunc_normal_
from mmpretrain.models import SwinTransformer
from torch import Tensor, nn

from egmim_mm.registry import MODELS


@MODELS.register_module()
class MaskedSwinTransformer(SwinTransformer):
    """Swin Transformer (Liu et al., ICCV 2021) that can hide tokens, for pretraining and segmentation alike.

    Hidden tokens are replaced by a learned one after patch embedding (SimMIM, Xie et al., CVPR 2022). Unlike
    ``SimMIMSwinTransformer``, every stage is read before patch merging, masked or not, so stages 1-3 can be
    supervised in pretraining and mean the same to UperNet. Small maps are padded to the window and shifted,
    as mmsegmentation's Swin does, in both phases: features do not change between them.

    Args:
        arch (str | dict): 'tiny', 'small', 'base', 'large', or a dict of ``embed_dims``, ``depths``, ``num_heads``.
        img_size (int | tuple[int, int]): Nominal input size, px. Other sizes work.
        window_size (int): Attention window, tokens.
        in_channels (int): Input bands.
        out_indices (Sequence[int]): Stages to return; each has a LayerNorm ``norm{i}``. Name only those that a
            loss reads: an unused norm stops distributed training.
        drop_path_rate (float): Stochastic depth; 0 for pretraining.
        use_mask_token (bool): Whether there is a mask token. Segmentation needs none.
        kwargs: See :class:`mmpretrain.models.SwinTransformer`.
    """

    def __init__(self,
                 arch: str | dict = 'tiny',
                 img_size: int | tuple[int, int] = 224,
                 window_size: int = 7,
                 in_channels: int = 3,
                 out_indices: Sequence[int] = (0, 1, 2, 3),
                 drop_path_rate: float = 0.0,
                 use_mask_token: bool = True,
                 pad_small_map: bool = True,
                 **kwargs) -> None:
        super().__init__(
            arch=arch,
            img_size=img_size,
            window_size=window_size,
            in_channels=in_channels,
            out_indices=tuple(sorted(out_indices)),  # the order in which they are returned
            drop_path_rate=drop_path_rate,
            pad_small_map=pad_small_map,
            **kwargs)
        if self.use_abs_pos_embed:
            raise ValueError('absolute position embeddings are not supported: Swin has relative ones')
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if use_mask_token else None

    def init_weights(self) -> None:
        """Truncated normal (0.02) as SimMIM and timm do, then the checkpoint of ``init_cfg`` if there is one."""
        # MMEngine would run the children's defaults after most init_cfg types; here a checkpoint comes last
        init_cfg, self.init_cfg = self.init_cfg, None
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.init_cfg = init_cfg
        if init_cfg:
            initialize(self, init_cfg)
        self.init_mask_token()

    @torch.no_grad()
    def init_mask_token(self) -> None:
        """Give a mask token that is still zero (supervised checkpoints have none) its initial values."""
        if self.mask_token is not None and not self.mask_token.any():
            trunc_normal_(self.mask_token, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Feature maps of the stages ``out_indices``.

        Args:
            x (Tensor): (B, C, H, W) normalised images.
            mask (Tensor, optional): (B, H / 4, W / 4) bool, True = hidden.

        Returns:
            tuple[Tensor]: Per stage i: (B, C_i, H / 2^(i+2), W / 2^(i+2)).
        """
        x, hw_shape = self.patch_embed(x)  # (B, L, C)
        if mask is not None:
            if self.mask_token is None:
                raise ValueError('this backbone was built with use_mask_token=False and cannot hide tokens')
            if tuple(mask.shape[1:]) != tuple(hw_shape):
                raise ValueError(f'mask is {tuple(mask.shape[1:])} tokens, the image has {tuple(hw_shape)}')
            hidden = mask.flatten(1).unsqueeze(-1)  # (B, L, 1)
            x = torch.where(hidden, self.mask_token.to(x.dtype), x)
        x = self.drop_after_pos(x)

        outs = []
        for i, stage in enumerate(self.stages):
            x, hw_shape = stage(x, hw_shape, do_downsample=False)
            if i in self.out_indices:
                out = getattr(self, f'norm{i}')(x).view(-1, *hw_shape, self.num_features[i])
                outs.append(out.permute(0, 3, 1, 2).contiguous())
            if stage.downsample is not None:
                x, hw_shape = stage.downsample(x, hw_shape)
        return tuple(outs)
