"""Parts of a segmentation model in a form whose graph holds for every image size; the numbers stay the same.

MMPretrain's windows and MMCV's patches branch on the height and width while they run, and an exporter would keep the
branch of its example alone.
"""
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import AdaptivePadding
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor, nn

from egmim_mm.models.backbones.window_attention import ShiftedWindowAttention
from egmim_mm.models.fitted_encoder_decoder import PixelFeatures
from egmim_mm.readout.pixel_filters import filtered_maps

from ..windows import STRIDE

__all__ = ['exportable']

MASKED = -100.0  # added to the attention of tokens that the shift has brought together, as everywhere in Swin


def window_plan(height: int, width: int, window: int, shift: int, device: torch.device) -> tuple[Tensor, Tensor,
                                                                                                 Tensor | None]:
    """Shifted windows of a map as gathers that pad, shift and cut at once.

    Returns:
        For n windows, in rows, each with window^2 tokens:

        - into (n * window^2, ) int64: the token, out of height * width, that stands there; height * width is padding.
        - back (height * width, ) int64: where a token went.
        - mask (n, window^2, window^2) float32: 0 within a region, :data:`MASKED` between tokens that only the shift
          has brought together; None without a shift.
    """
    rows, columns = (height + window - 1) // window, (width + window - 1) // window
    down, across = (torch.arange(count * window, device=device) for count in (rows, columns))
    # remainders as subtractions: the size may be a symbol
    y, x = down + shift, across + shift
    y, x = y - (y >= rows * window).long() * (rows * window), x - (x >= columns * window).long() * (columns * window)
    inside = ((y < height)[:, None] & (x < width)).long()
    into = (y[:, None] * width + x - height * width) * inside + height * width
    into = into.reshape(rows, window, columns, window).transpose(1, 2).reshape(-1)

    y, x = (torch.arange(size, device=device) - shift for size in (height, width))
    y, x = y + (y < 0).long() * (rows * window), x + (x < 0).long() * (columns * window)
    back = (y // window * columns)[:, None] + x // window
    back = (back * window**2 + (y % window * window)[:, None] + x % window).reshape(-1)
    if not shift:
        return into, back, None

    # 2 where tokens come from the other end, 1 in the rest of the last window, else 0
    y, x = down - (rows - 1) * window, across - (columns - 1) * window
    y, x = ((place >= 0).long() + (place >= window - shift).long() for place in (y, x))
    region = (3 * y[:, None] + x).reshape(rows, window, columns, window).transpose(1, 2)
    region = region.reshape(rows * columns, window**2)
    return into, back, (region[:, None] != region[:, :, None]).float() * MASKED


class _Plans:
    """The plans of the stage at hand. All its blocks are handed one and the same tuple as the size of the map."""

    def __init__(self) -> None:
        self._stage, self._plans = None, {}

    def get(self, hw_shape: tuple[int, int], *key) -> tuple[Tensor, Tensor, Tensor | None]:
        if self._stage is not hw_shape:
            self._stage, self._plans = hw_shape, {}
        if key not in self._plans:
            self._plans[key] = window_plan(*hw_shape, *key)
        return self._plans[key]


class GatheredWindows(nn.Module):
    """ShiftWindowMSA without branches on the size.

    Args:
        source: Its weights are shared.
        plans: Shared by the blocks of a backbone.

    Raises:
        ValueError: ``pad_small_map`` is off, with which the computation depends on the size.
    """

    def __init__(self, source: ShiftWindowMSA, plans: _Plans) -> None:
        super().__init__()
        if not source.pad_small_map:
            raise ValueError('a backbone with pad_small_map=False cannot be exported: its windows change with the '
                             'image size. Train with the default, True')
        self.w_msa, self.drop, self.plans = source.w_msa, source.drop, plans
        self.window, self.shift = source.window_size, source.shift_size

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Tokens (B, H * W, C) and (H, W) -> (B, H * W, C)."""
        batch, _, channels = query.shape
        into, back, mask = self.plans.get(hw_shape, self.window, self.shift, query.device)
        x = torch.cat([query, query.new_zeros(batch, 1, channels)], 1).index_select(1, into)
        windows = into.shape[0] // self.window**2
        x = self.w_msa(x.reshape(batch * windows, self.window**2, channels), mask=mask)
        return self.drop(x.reshape(batch, windows * self.window**2, channels).index_select(1, back))


class PatchUnfold(nn.Unfold):
    """Unfold for patches that lie side by side, with pairs as sizes: reshaping, which every runtime knows."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C * kh * kw, H / kh * W / kw)."""
        batch, channels, height, width = input.shape
        down, across = self.kernel_size
        x = input.reshape(batch, channels, height // down, down, width // across, across)
        x = x.permute(0, 1, 3, 5, 2, 4)
        return x.reshape(batch, channels * down * across, (height // down) * (width // across))


class AveragePool(nn.Module):
    """AdaptiveAvgPool2d as two matrix products, for input whose size is not known.

    Args:
        output_size: Of AdaptiveAvgPool2d; None keeps an axis.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = output_size if isinstance(output_size, tuple) else (output_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, h, w)."""
        down, across = self.output_size
        if down is not None:
            x = _bins(x.shape[2], down, x) @ x
        return x if across is None else x @ _bins(x.shape[3], across, x).T


class PooledPixelFeatures(PixelFeatures):
    """PixelFeatures of images whose sides are multiples of 1 / scale: nothing is rounded."""

    def forward(self, images: Tensor, size: Sequence[int]) -> Tensor:
        """(B, C, H, W) -> (B, PER_BAND * C, h, w) of size (h, w)."""
        return filtered_maps(F.avg_pool2d(images, round(1 / self.scale)), 1.0, size)


def _bins(size: int, count: int, like: Tensor) -> Tensor:
    """(count, size): row i averages from floor(i size / count) to ceil((i + 1) size / count), as PyTorch does."""
    index = torch.arange(count, device=like.device)
    place = torch.arange(size, device=like.device)
    first, end = index * size // count, ((index + 1) * size + count - 1) // count
    inside = (place >= first[:, None]) & (place < end[:, None])
    return inside.to(like.dtype) / (end - first)[:, None].to(like.dtype)


def _patches(module: nn.Unfold) -> nn.Module:
    kernel, stride, padding, dilation = (value if isinstance(value, tuple) else (value, value) for value in (
        module.kernel_size, module.stride, module.padding, module.dilation))
    plain = stride == kernel and padding == (0, 0) and dilation == (1, 1)
    return PatchUnfold(kernel, dilation, padding, stride) if plain else module


def _pooled(module: PixelFeatures) -> PixelFeatures:
    is_exact = float(STRIDE * module.scale).is_integer() and (1 / module.scale).is_integer()
    return PooledPixelFeatures(module.scale) if is_exact else module


# Kinds of modules and what takes their place. Images are multiples of 32 px: the patches need no padding.
_SUBSTITUTES: dict[type, Callable[[nn.Module], nn.Module]] = {
    nn.Unfold: _patches,
    nn.AdaptiveAvgPool2d: lambda module: AveragePool(module.output_size),
    PixelFeatures: _pooled,
}


def exportable(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that computes the same for images of multiples of 32 px, without branches on the size.

    Raises:
        ValueError: A Swin with ``pad_small_map=False``.
    """
    model, plans = deepcopy(model), _Plans()
    model.eval()  # a backbone of MMPretrain returns None here
    model.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) in _SUBSTITUTES:
                setattr(module, name, _SUBSTITUTES[type(child)](child))
            elif isinstance(child, (ShiftWindowMSA, ShiftedWindowAttention)):
                setattr(module, name, GatheredWindows(child, plans))
            elif isinstance(child, AdaptivePadding):
                setattr(module, name, None)
    return model
