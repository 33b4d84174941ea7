from collections.abc import Sequence

import torch
from mmpretrain.models import SwinTransformerV2
from mmpretrain.models.utils import WindowMSAV2
from torch import Tensor, nn

from egmim_mm.registry import MODELS

from .masked_stages import MaskedStages

_RECOMPUTED = ('relative_coords_table', 'relative_position_index')  # buffers that follow from the window


@MODELS.register_module()
class MaskedSwinTransformerV2(MaskedStages, SwinTransformerV2):
    """Swin Transformer V2 (Liu et al., CVPR 2022) that can hide tokens; otherwise as MaskedSwinTransformer.

    Its position bias is a small network of the offset. Offsets are scaled by the window, so at another window the
    bias is stretched, as a resized table of V1 would be. ``pretrained_window_sizes`` scales them by the window of
    the pretraining instead (one per stage, for example [8, 8, 8, 8]), as the paper does for larger images.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge', 'giant', or a dict of ``embed_dims``,
            ``depths``, ``num_heads`` and optionally ``extra_norm_every_n_blocks`` (0).
        img_size, in_channels, out_indices, drop_path_rate, use_mask_token, pad_small_map, encode, cell_size: See
            :class:`MaskedSwinTransformer`.
        window_size: Attention window, tokens; of each stage, if there are several.
        kwargs: See :class:`mmpretrain.models.SwinTransformerV2`.
    """

    def __init__(self,
                 arch: str | dict = 'tiny',
                 img_size: int | tuple[int, int] = 256,
                 window_size: int | Sequence[int] = 8,
                 in_channels: int = 3,
                 out_indices: Sequence[int] = (0, 1, 2, 3),
                 drop_path_rate: float = 0.0,
                 use_mask_token: bool = True,
                 pad_small_map: bool = True,
                 encode: str = 'dense',
                 cell_size: int = 16,
                 **kwargs) -> None:
        if not isinstance(arch, str):
            arch = dict(extra_norm_every_n_blocks=0) | dict(arch)
        super().__init__(
            arch=arch,
            img_size=img_size,
            window_size=window_size,
            in_channels=in_channels,
            out_indices=out_indices,
            drop_path_rate=drop_path_rate,
            use_mask_token=use_mask_token,
            pad_small_map=pad_small_map,
            encode=encode,
            cell_size=cell_size,
            **kwargs)
        self.num_features = [stage.out_channels for stage in self.stages]
        for module in self.modules():
            if isinstance(module, WindowMSAV2):
                # MMPretrain drops them from what it loads, and a strict load would then miss them
                for name in _RECOMPUTED:
                    module.register_buffer(name, getattr(module, name), persistent=False)

    def _delete_reinit_params(self, state_dict: dict[str, Tensor], prefix: str, *args, **kwargs) -> None:
        # a hook of MMPretrain's that reaches beyond this backbone and logs a line at every load
        for key in [k for k in state_dict if k.startswith(prefix) and k.endswith(_RECOMPUTED)]:
            del state_dict[key]

    @torch.no_grad()
    def init_layers(self) -> None:
        """As V1; norms on the branches start at 0, so that every block starts as the identity (Microsoft's code)."""
        super().init_layers()
        for stage in self.stages:
            for block in stage.blocks:
                nn.init.zeros_(block.norm1.weight)
                nn.init.zeros_(block.norm2.weight)

    def run_stage(self, index: int, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Patch merging stands at the beginning of a stage here."""
        stage = self.stages[index]
        if stage.downsample:
            x, hw_shape = self.merge_patches(stage.downsample, x, hw_shape)
        for block in stage.blocks:
            x = block(x, hw_shape)
        return x, hw_shape
