"""Our window attention against MMPretrain's modules, whose weights it uses: outputs and all gradients."""
from copy import deepcopy

import pytest
import torch
from mmpretrain.models.utils import ShiftWindowMSA, WindowMSA, WindowMSAV2

from egmim_mm.models import MaskedSwinTransformer
from egmim_mm.models.backbones import window_attention
from egmim_mm.models.backbones.window_attention import ShiftedWindowAttention, shift_mask

CHANNELS, WINDOW = 16, 4
# height, width, shift, pad_small_map
CASES = [
    (8, 8, 0, True), (8, 12, 2, True),  # whole windows
    (7, 13, 0, True), (7, 13, 2, True),  # padded
    (4, 4, 2, True), (4, 9, 2, True),  # a side of one window: shifted all the same
    (4, 4, 2, False), (4, 8, 2, False), (8, 8, 2, False),  # the first two are not shifted
    (3, 2, 2, True),  # smaller than the window
]


@pytest.fixture
def fused(monkeypatch):
    """Function: whether scaled_dot_product_attention is used, on a CPU too."""
    attend = window_attention.attend

    def choose(value):
        monkeypatch.setattr(window_attention, 'attend', lambda *args: attend(*args[:-1], value))

    return choose


def pair(msa, **options):
    """MMPretrain's module with random weights, and ours with a copy of them."""
    torch.manual_seed(0)
    stock = ShiftWindowMSA(CHANNELS, 4, WINDOW, window_msa=msa, **options)
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    return stock.double(), ShiftedWindowAttention(deepcopy(stock.double()))


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)  # float64


@pytest.mark.parametrize('msa', [WindowMSA, WindowMSAV2])
@pytest.mark.parametrize('use_sdpa', [False, True], ids=['products', 'sdpa'])
@pytest.mark.parametrize('height, width, shift, pad', CASES)
def test_outputs_and_gradients(fused, msa, use_sdpa, height, width, shift, pad):
    fused(use_sdpa)
    stock, ours = pair(msa, shift_size=shift, pad_small_map=pad)
    tokens, upstream = torch.randn(2, 2, height * width, CHANNELS, dtype=torch.float64)
    results = []
    for module in (ours, stock):
        x = tokens.clone().requires_grad_()
        out = module(x, (height, width))
        out.backward(upstream)
        results.append(dict(out=out, x=x.grad, **{n: p.grad for n, p in module.named_parameters()}))
    assert results[0].keys() == results[1].keys() and len(results[0]) > 6
    for name, value in results[0].items():
        assert value.abs().max() > 0, name
        close(value, results[1][name])


def test_dropout_of_attention_weights(fused):
    """All weights dropped leaves the projection's bias; evaluation drops none."""
    for use_sdpa in (False, True):
        fused(use_sdpa)
        stock, ours = pair(WindowMSA, attn_drop=1.0)
        x = torch.randn(1, 64, CHANNELS, dtype=torch.float64)
        close(ours(x, (8, 8)), ours.w_msa.proj.bias.expand(1, 64, CHANNELS))
        ours.eval(), stock.eval()
        close(ours(x, (8, 8)), stock(x, (8, 8)))


def test_map_smaller_than_the_window():
    _, ours = pair(WindowMSA, pad_small_map=False)
    with pytest.raises(ValueError, match=r'the map, 3 x 9 tokens, is smaller than window_size = 4: set pad_small_map'):
        ours(torch.zeros(1, 27, CHANNELS, dtype=torch.float64), (3, 9))


def test_masks_are_made_once_and_serve_training_after_prediction():
    shift_mask.cache_clear()
    backbone = MaskedSwinTransformer(dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 1, 2, 2]), 64, 4)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        backbone(images)
    made = shift_mask.cache_info().misses
    sum(out.square().sum() for out in backbone(images)).backward()
    assert shift_mask.cache_info().misses == made == 3  # stages 3 and 4 are one window each
    table = backbone.stages[0].blocks[1].attn.w_msa.relative_position_bias_table
    assert table.grad.abs().max() > 0


def test_activation_checkpointing_changes_no_gradient():
    arch, images = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 1, 2, 2]), torch.randn(1, 3, 64, 64)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        backbone = MaskedSwinTransformer(arch, 64, 4, with_cp=with_cp)
        sum(out.square().sum() for out in backbone(images, torch.zeros(1, 16, 16, dtype=torch.bool))).backward()
        gradients.append({name: parameter.grad for name, parameter in backbone.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-5, atol=1e-5, msg=name)
