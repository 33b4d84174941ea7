"""Patch merging with the weights of the stock modules and one copy instead of three; the numbers stay the same."""
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ['merge_tokens']


def merge_tokens(merging: nn.Module, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Tokens (B, h w, C) of an (h, w) -> (B, L', C') of every 2 x 2 of them, and their (h', w').

    The norm and the reduction expect the channels of the four tokens by turns, which copies single numbers. Here
    the four come one after the other, and where there are fewer weights than numbers the weights are reordered instead.

    Args:
        merging: PatchMerging of MMCV (Swin: LayerNorm, then the reduction) or of MMPretrain (Swin V2: perhaps the
            other way round).
        x: Tokens.
        hw_shape: (h, w); odd sides are padded with zeros.
    """
    (batch, _, channels), (height, width) = x.shape, hw_shape
    x = F.pad(x.view(batch, height, width, channels), (0, 0, 0, width % 2, 0, height % 2))
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    x = x.view(batch, rows, 2, columns, 2, channels).transpose(2, 3).reshape(batch, rows * columns, 4, channels)
    norm, weight = merging.norm, merging.reduction.weight
    post_norm = norm is not None and getattr(merging, 'use_post_norm', False)
    # by one image: a batch in parts, or shared by processes, must add up in the same order
    reorder = x[0].numel() < weight.numel()
    x = (x.transpose(2, 3) if reorder else x).flatten(2)

    def by_token(values: Tensor) -> Tensor:  # (..., 4 C), channel by channel -> token by token
        return values if reorder else values.unflatten(-1, (channels, 4)).transpose(-1, -2).flatten(-2)

    if norm is not None and not post_norm:
        x = F.layer_norm(x, norm.normalized_shape, by_token(norm.weight), by_token(norm.bias), norm.eps)
    x = F.linear(x, by_token(weight), merging.reduction.bias)
    return norm(x) if post_norm else x, (rows, columns)
