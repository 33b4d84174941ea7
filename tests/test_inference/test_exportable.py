"""The exportable parts against those of MMPretrain, MMCV and PyTorch that they stand in for."""
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models.utils import ShiftWindowMSA
from torch import nn

from egmim_mm.inference.onnx.exportable import (
    MASKED,
    AveragePool,
    GatheredWindows,
    PatchUnfold,
    exportable,
    window_plan,
)
from egmim_mm.models.backbones.window_attention import ShiftedWindowAttention
from egmim_mm.registry import MODELS

SIZES = [(8, 8), (3, 5), (16, 10), (7, 14), (1, 1), (15, 2), (21, 4)]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('shift', [0, 3])
def test_plan_is_padding_shift_and_partition(size, shift):
    height, width = size
    into, back, mask = window_plan(height, width, 7, shift, torch.device('cpu'))
    tokens = torch.arange(1, 1 + height * width).reshape(1, height, width, 1)
    padded = nn.functional.pad(tokens, (0, 0, 0, -width % 7, 0, -height % 7))
    shifted = torch.roll(padded, (-shift, -shift), (1, 2))
    expected = ShiftWindowMSA.window_partition(shifted, 7).flatten()
    flat = torch.cat([tokens.flatten(), torch.zeros(1, dtype=torch.long)])  # padding is the token behind the last
    assert torch.equal(flat[into], expected)
    assert torch.equal(expected[back], tokens.flatten())
    reference = ShiftWindowMSA.get_attn_mask(padded.shape[1:3], 7, shift)
    assert (mask is None and reference is None) if not shift else torch.equal(mask, reference)
    assert not shift or MASKED in mask


@pytest.mark.parametrize('size', [(6, 6), (1, 1), (2, 3), (7, 13), (12, 5)])
@pytest.mark.parametrize('output', [1, 2, 3, 6, (2, None), (None, 4)])
def test_average_pool_is_that_of_pytorch(size, output):
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(AveragePool(output)(x), nn.AdaptiveAvgPool2d(output)(x))


def test_patches_are_those_of_unfold():
    x = torch.randn(2, 3, 8, 12)
    for kernel in ((2, 2), (4, 3)):
        assert torch.equal(PatchUnfold(kernel, stride=kernel)(x), nn.Unfold(kernel, stride=kernel)(x))


@pytest.mark.parametrize('kind, window', [('MaskedSwinTransformer', 7), ('MaskedSwinTransformerV2', 4)])
def test_backbones_compute_the_same_at_every_size_and_are_not_changed(kind, window):
    torch.manual_seed(0)
    arch = dict(embed_dims=8, depths=[2, 2, 1, 2], num_heads=[1, 1, 2, 2])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        backbone = MODELS.build(dict(type=f'egmim_mm.{kind}', arch=arch, window_size=window))
    backbone.eval()
    for parameter in backbone.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    copy = exportable(backbone)
    kinds = {type(module) for module in copy.modules()}
    assert GatheredWindows in kinds and ShiftedWindowAttention not in kinds
    assert ShiftedWindowAttention in {type(module) for module in backbone.modules()}
    for size in ((32, 32), (64, 96), (224, 32), (128, 160)):  # maps of the last stage from 1 x 1 to 7 x 1 and 4 x 5
        x = torch.randn(2, 3, *size)
        with torch.inference_mode():
            for ours, reference in zip(copy(x), backbone(x), strict=True):
                assert reference.std() > 0.1
                torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)


def test_windows_that_change_with_the_size_are_refused():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        backbone = MODELS.build(dict(
            type='egmim_mm.MaskedSwinTransformer', window_size=2, pad_small_map=False,
            arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1])))
    with pytest.raises(ValueError, match='pad_small_map=False cannot be exported'):
        exportable(backbone)
