"""with_cp: the same values and gradients, less memory, no warning."""
import warnings
from contextlib import nullcontext

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from egmim_mm.models import MaskedSwinTransformer, MaskedSwinTransformerV2

ARCH = dict(embed_dims=16, depths=[2, 2, 4, 2], num_heads=[1, 2, 4, 4])


def step(kind, with_cp, precision=None, mask=None):
    """(outputs, gradients by name, bytes kept for the backward pass)"""
    torch.manual_seed(0)
    backbone = kind(ARCH, 64, 4, drop_path_rate=0.3, with_cp=with_cp, use_mask_token=mask is not None)
    backbone.train()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    kept = []
    with saved_tensors_hooks(lambda x: kept.append(x.nbytes) or x, lambda x: x), \
            torch.autocast('cpu', torch.bfloat16) if precision else nullcontext():
        torch.manual_seed(2)
        maps = backbone(images, mask)
    sum(x.float().square().mean() for x in maps).backward()
    return maps, {name: p.grad for name, p in backbone.named_parameters()}, sum(kept)


@pytest.mark.parametrize('kind', [MaskedSwinTransformer, MaskedSwinTransformerV2])
@pytest.mark.parametrize('precision', [None, 'bfloat16'])
@pytest.mark.parametrize('masked', [False, True])
def test_gradients_are_those_without(kind, precision, masked):
    mask = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(3)) > 0.5 if masked else None
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        maps, gradients, kept = step(kind, True, precision, mask)
    plain_maps, plain_gradients, plain_kept = step(kind, False, precision, mask)
    assert gradients.keys() == plain_gradients.keys()
    for x, other in zip(maps, plain_maps, strict=True):
        assert torch.equal(x, other)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], msg=name)
    assert sum(g.abs().sum() > 0 for g in gradients.values()) > 100
    assert kept < plain_kept / 3


def test_a_backbone_without_it_keeps_mmpretrains_blocks():
    for with_cp, number in ((False, 0), (True, 10)):
        backbone = MaskedSwinTransformer(ARCH, 64, 4, with_cp=with_cp)
        assert sum(type(m).__name__ == '_RecomputedSwinBlock' for m in backbone.modules()) == number
