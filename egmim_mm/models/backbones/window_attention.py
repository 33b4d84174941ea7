"""Attention in shifted windows with the weights of MMPretrain's modules and fewer copies; the numbers stay the same."""
import math
from collections.abc import Iterable
from functools import lru_cache

import torch
from mmengine.model import BaseModule
from mmpretrain.models.utils import ShiftWindowMSA, WindowMSA, WindowMSAV2
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .visible_map import VisibleMap

__all__ = ['ShiftedWindowAttention', 'replace_attention']


class ShiftedWindowAttention(BaseModule):
    """Takes the place of a ShiftWindowMSA, of Swin or of Swin V2; names of parameters and buffers stay.

    Queries, keys and values are made before the map is cut into windows, so one copy does both. On a GPU
    ``scaled_dot_product_attention`` gets position bias and shift mask as one additive mask. On a CPU it has no fused
    kernel with a gradient for the bias, and its fallback is slower than the products written out (a quarter in float32,
    a half in bfloat16, torch 2.11), so these are used.

    Args:
        source: Its weights are shared.
    """

    def __init__(self, source: ShiftWindowMSA) -> None:
        super().__init__()
        self.w_msa, self.drop = source.w_msa, source.drop
        self.window_size, self.shift_size = source.window_size, source.shift_size
        self.pad_small_map = source.pad_small_map

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Tokens (B, H * W, C) and (H, W) -> (B, H * W, C).

        With a :class:`VisibleMap` as (H, W) every window of every image has the position biases of its own offsets,
        and windows are as large as divides the map best.

        Raises:
            ValueError: A map smaller than the window, and ``pad_small_map`` is off.
        """
        (batch, _, channels), (height, width), window = query.shape, hw_shape, self.window_size
        compact = isinstance(hw_shape, VisibleMap)
        if min(height, width) < window and not self.pad_small_map and not compact:
            raise ValueError(f'the map, {height} x {width} tokens, is smaller than window_size = {window}: set '
                             'pad_small_map=True, or use larger images or a smaller window')
        # without padding Swin does not shift a map of one window
        shift = self.shift_size if self.pad_small_map or min(height, width) > window else 0
        if compact:
            window = hw_shape.window(window)
            # a map smaller than a window is one; shifted, its few tokens would not see each other
            shift = window // 2 if shift and max(height, width) >= self.window_size else 0
        x = F.pad(query.view(batch, height, width, channels), (0, 0, 0, -width % window, 0, -height % window))
        rows, columns = x.shape[1] // window, x.shape[2] // window
        if shift:
            x = x.roll((-shift, -shift), (1, 2))

        heads, inner = self.w_msa.num_heads, channels // self.w_msa.num_heads
        qkv = _queries_keys_values(self.w_msa, x).view(batch, rows, window, columns, window, 3, heads, inner)
        # (3, B, rows, columns, heads, window, window, inner); with a shift every window has its own mask
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7)
        if compact:
            lookup = hw_shape.lookup(window, shift, self.window_size)
            bias = offset_bias(self.w_msa, lookup)  # (B, windows, heads, N, N)
        else:
            bias = position_bias(self.w_msa)  # (heads, N, N)
        if shift:
            mask = shift_mask(rows, columns, window, shift, bias.device, bias.dtype)
            bias = bias + mask.unsqueeze(1)
        if shift or compact:
            bias = bias.flatten(-4, -3)
            qkv = qkv.reshape(3, batch, rows * columns * heads, window**2, inner)
        else:
            qkv = qkv.reshape(3, batch * rows * columns, heads, window**2, inner)
        if isinstance(self.w_msa, WindowMSAV2):  # cosine attention
            q, k, v = qkv.unbind(0)
            heat = self.w_msa.logit_scale.clamp(max=math.log(100)).exp()
            q = F.normalize(q, dim=-1) * heat.repeat(q.shape[1] // heads, 1, 1)
            qkv, scale = (q, F.normalize(k, dim=-1), v), 1.0
        else:
            scale = self.w_msa.scale
        x = attend(qkv, bias, scale, self.w_msa.attn_drop.p if self.training else 0.0, x.device.type != 'cpu')

        x = x.view(batch, rows, columns, heads, window, window, inner).permute(0, 1, 4, 2, 5, 3, 6)
        x = self.w_msa.proj_drop(self.w_msa.proj(x.reshape(batch, rows * window, columns * window, channels)))
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return self.drop(x[:, :height, :width].reshape(batch, height * width, channels))


def attend(qkv: Tensor | tuple[Tensor, Tensor, Tensor], bias: Tensor, scale: float, dropout: float,
           fused: bool) -> Tensor:
    """``softmax(scale q k^T + bias) v``.

    Args:
        qkv: q, k and v, (n, m, N, d) each; as one tensor (3, n, m, N, d) a step on a CPU is faster.
        bias: (m, N, N) or (n, m, N, N), added to the scores.
        scale: Of the scores.
        dropout: Share of the attention weights that are dropped.
        fused: Use ``scaled_dot_product_attention``.

    Returns:
        (n, m, N, d).
    """
    q, k, v = qkv
    if fused:
        # one type for all: that of the projection, which autocast has chosen
        bias = bias.to(v.dtype).view(-1, *bias.shape[-3:])
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, bias, dropout, scale=scale)
    # a graph that is exported has no gradient, and knows no function of our own
    if isinstance(qkv, Tensor) and qkv.requires_grad and torch.is_grad_enabled() and not dropout:
        return _Attention.apply(qkv, bias, scale)
    scores = (q * scale) @ k.transpose(-2, -1) + bias
    return F.dropout(scores.softmax(-1), dropout) @ v


class _Attention(torch.autograd.Function):
    """The products of :func:`attend` with their gradient written out.

    In bfloat16 it keeps one tensor of weights instead of two, one of them float32, and the gradients of queries, keys
    and values are made where the projection reads them.
    """

    @staticmethod
    def forward(ctx, qkv: Tensor, bias: Tensor, scale: float) -> Tensor:
        (n, m, tokens, _), (q, k, v) = qkv.shape[1:], qkv.flatten(1, 2)
        scores = torch.bmm(q, k.mT).view(n, m, tokens, tokens)
        # bias is float32, so these are the numbers of float32, rounded at the end
        weights = torch.add(bias, scores, alpha=scale).softmax(-1).to(v.dtype)
        ctx.save_for_backward(qkv, weights)
        ctx.scale, ctx.bias = scale, (bias.ndim, bias.dtype)
        return torch.bmm(weights.flatten(0, 1), v).view(n, m, tokens, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        qkv, weights = ctx.saved_tensors
        (q, k, v), grad, flat = qkv.flatten(1, 2), grad.flatten(0, 1), weights.flatten(0, 1)
        grad_qkv = qkv.new_empty(qkv.shape)  # contiguous, whatever the queries are a view of
        grad_q, grad_k, grad_v = grad_qkv.flatten(1, 2)
        torch.bmm(flat.mT, grad, out=grad_v)
        scores = torch._softmax_backward_data(torch.bmm(grad, v.mT), flat, -1, flat.dtype)
        ndim, dtype = ctx.bias
        grad_bias = scores.view_as(weights)
        grad_bias = (grad_bias if ndim == 4 else grad_bias.sum(0)).to(dtype, copy=ndim == 4)
        scores.mul_(ctx.scale)
        torch.bmm(scores, k, out=grad_q)
        torch.bmm(scores.mT, q, out=grad_k)
        return grad_qkv, grad_bias, None


def position_bias(attention: WindowMSA | WindowMSAV2) -> Tensor:
    """Relative position bias (heads, N, N) of a window of N tokens."""
    index, tokens = attention.relative_position_index, math.prod(attention.window_size)
    return _bias_table(attention)[index.view(-1)].view(tokens, tokens, -1).permute(2, 0, 1).contiguous()


def offset_bias(attention: WindowMSA | WindowMSAV2, lookup: Tensor) -> Tensor:
    """(B, windows, N^2) entries of its table -> relative position bias (B, windows, heads, N, N)."""
    batch, windows, pairs = lookup.shape
    table = _bias_table(attention).t()  # (heads, entries)
    # gathered along the last axis: three times as fast as rows of the table, and the gradient needs no sorting
    bias = table.expand(batch, windows, -1, -1).gather(3, lookup[:, :, None].expand(-1, -1, len(table), -1))
    return bias.unflatten(3, (math.isqrt(pairs), math.isqrt(pairs)))


def _bias_table(attention: WindowMSA | WindowMSAV2) -> Tensor:
    """((2 window - 1)^2, heads) position biases by offset."""
    if isinstance(attention, WindowMSAV2):
        table = attention.cpb_mlp(attention.relative_coords_table).view(-1, attention.num_heads)
        return 16 * torch.sigmoid(table)
    return attention.relative_position_bias_table


@lru_cache(maxsize=64)  # the stages of a few image sizes
def shift_mask(rows: int, columns: int, window: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What keeps tokens apart that only the shift has brought together.

    Returns:
        (rows * columns, window^2, window^2): 0 or -100, for each window of a map.
    """
    with torch.inference_mode(False), torch.no_grad():  # training may use what prediction has cached
        return ShiftWindowMSA.get_attn_mask((rows * window, columns * window), window, shift).to(device, dtype)


def replace_attention(stages: Iterable[nn.Module]) -> None:
    """Give every block of stages of a Swin of MMPretrain our attention, with the weights it has."""
    for stage in stages:
        for block in stage.blocks:
            block.attn = ShiftedWindowAttention(block.attn)


def _queries_keys_values(attention: WindowMSA | WindowMSAV2, x: Tensor) -> Tensor:
    """(..., C) -> (..., 3 C)."""
    if not isinstance(attention, WindowMSAV2):
        return attention.qkv(x)
    bias = None
    if attention.q_bias is not None:
        bias = torch.cat([attention.q_bias, torch.zeros_like(attention.v_bias), attention.v_bias])
    return F.linear(x, attention.qkv.weight, bias)
