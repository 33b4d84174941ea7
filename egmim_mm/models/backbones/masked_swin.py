from collections.abc import Sequence

from mmpretrain.models import SwinTransformer
from torch import Tensor

from egmim_mm.registry import MODELS

from .masked_stages import MaskedStages


@MODELS.register_module()
class MaskedSwinTransformer(MaskedStages, SwinTransformer):
    """Swin Transformer (Liu et al., ICCV 2021) that can hide tokens, for pretraining and segmentation alike.

    Hidden tokens are replaced by a learned one after patch embedding (SimMIM, Xie et al., CVPR 2022). Unlike
    ``SimMIMSwinTransformer``, every stage is read before patch merging, masked or not, so stages 1-3 can be
    supervised in pretraining and mean the same to UperNet. Small maps are padded to the window and shifted,
    as mmsegmentation's Swin does, in both phases: features do not change between them.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict of ``embed_dims``, ``depths``, ``num_heads``.
        img_size: Nominal input size, px. Other sizes work.
        window_size: Attention window, tokens: 6 for 192 px, 7 for 224, 8 for 256, 12 for 384.
        in_channels: Input bands.
        out_indices: Stages to return; each has a LayerNorm ``norm{i}``. Name only those that a
            loss reads: an unused norm stops distributed training.
        drop_path_rate: Stochastic depth; 0 for pretraining.
        use_mask_token: Whether there is a mask token. Segmentation needs none.
        pad_small_map: Pad and shift maps that are no larger than a window, as mmsegmentation does.
        encode: What is encoded of a masked image: 'dense', the whole map with mask tokens, or 'visible', the kept
            cells alone, a quarter of the tokens. Parameters, and encoding without a mask, are the same.
        cell_size: Side of the cells of the masks, px, for 'visible': 16, or a multiple of 32.
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
                 encode: str = 'dense',
                 cell_size: int = 16,
                 **kwargs) -> None:
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

    def run_stage(self, index: int, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Patch merging of the stage before, which belongs to that one here, then the blocks."""
        if index:
            x, hw_shape = self.merge_patches(self.stages[index - 1].downsample, x, hw_shape)
        return self.stages[index](x, hw_shape, do_downsample=False)

    def keep_stages(self, *stages: int) -> None:
        super().keep_stages(*stages)
        self.stages[-1].downsample = None
