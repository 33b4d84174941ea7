"""Targets at every stage: oriented edges from shallow stages, pixels from stage 3."""
import pytest
import torch
from egmim_terms import PIXEL
from torch.nn import functional as F

from egmim_mm.edges.oriented import oriented_edges
from egmim_mm.models import StageEdgesTerm, StagePixelsTerm

TERMS = [PIXEL, dict(type='egmim_mm.StageEdgesTerm'), dict(type='egmim_mm.StagePixelsTerm', stages=(2, ))]
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def supervised(build):
    """Function: toy EGMIM with both terms, whose heads already predict something."""

    def make(name='egmim_swin-tiny', **options):
        model = build(name, terms=TERMS, **options)
        for term in ('stage_edges', 'stage_pixels'):
            for parameter in model.terms[term].parameters():
                torch.nn.init.normal_(parameter, std=0.1)
        return model

    return make


def test_losses_equal_their_definition(supervised, normalized):
    model = supervised()
    inputs = normalized(IMAGES, model)
    batch = model.encode(inputs)
    losses = model.loss(inputs)
    hidden, parts = batch.mask.float(), []
    for i, cell in ((0, 4), (1, 8)):
        side = 64 // cell
        target = oriented_edges(batch.images, floor=0.002).view(2, 6, side, cell, side, cell).mean((3, 5))
        share = hidden.view(2, side, cell // 4, side, cell // 4).mean((2, 4))
        error = ((model.terms['stage_edges'].heads[str(i)](batch.features[i]) - target)**2).mean(1)
        parts.append(((error * share).sum((1, 2)) / share.sum((1, 2))).mean())
    assert losses['stage_edges'].item() == pytest.approx((sum(parts) / 2).item(), rel=1e-4)

    head = model.terms['stage_pixels'].heads['2'].decoder[0]
    pixels = F.pixel_shuffle(head(batch.features[2]), 16)
    weight = batch.hidden * (1 + batch.edge)
    expected = (((pixels - inputs).abs() * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)))).mean()
    assert losses['stage_pixels'].item() == pytest.approx(expected.item(), rel=1e-4)
    assert model.balance.rescaled == ('stage_edges', )


def test_heads_begin_with_nothing(build, normalized):
    model = build(terms=TERMS)
    losses = model.loss(normalized(IMAGES, model))
    (losses['loss_stage_edges'] + losses['loss_stage_pixels']).backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    for term in ('stage_edges', 'stage_pixels'):
        assert all(p.grad.any() for p in model.terms[term].parameters())


@pytest.mark.parametrize('name', ['egmim_swin-tiny', 'egmim_swin-nano_visible'])
def test_trains_in_both_precisions(supervised, normalized, name):
    visible = {'backbone.arch.embed_dims': 16, 'mask_generator.cell_size': 16} if 'visible' in name else {}
    model = supervised(name, **visible)
    inputs = normalized(IMAGES, model)
    full = model.loss(inputs)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(inputs)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for term in ('stage_edges', 'stage_pixels'):
        assert losses[term].item() == pytest.approx(full[term].item(), rel=0.05)
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize('term, options, message', [
    (StageEdgesTerm, dict(stages=(4, )), r'StageEdgesTerm: stages must name some of 0, 1, 2, 3, got \(4,\)'),
    (StageEdgesTerm, dict(rhos=()), r'rhos=\(\) must be scales above 0 px'),
    (StagePixelsTerm, dict(stages=()), 'StagePixelsTerm: stages must name some of'),
    (StagePixelsTerm, dict(weight=0), 'weight must be above 0, got 0'),
])
def test_errors(term, options, message):
    with pytest.raises(ValueError, match=message):
        term(**options)
