"""Loss terms: shapes are tied to strides, targets are the edge prior and HOG of hidden areas; a new one is a file."""
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from egmim_terms import GRADIENT, PIXEL, STRUCTURE
from torch.nn import functional as F

from egmim_mm.edges import edge_prior, hog
from egmim_mm.models import EdgeStructureHead, EdgeWeightedReconstructionHead, MaskedBatch, PixelTerm, StructureTerm

BACKBONE = SimpleNamespace(
    num_features=[8, 16, 32, 64], patch_embed=SimpleNamespace(projection=SimpleNamespace(in_channels=3)))


def test_pixels_are_shuffled_into_place():
    head = EdgeWeightedReconstructionHead(8, out_channels=4, encoder_stride=16)
    torch.nn.init.zeros_(head.decoder[0].weight)
    head.decoder[0].bias.data = torch.arange(4 * 256.0)
    output = head(torch.zeros(2, 8, 3, 2))
    assert output.shape == (2, 4, 48, 32)
    # channel c of a cell is a 16 x 16 image, row by row
    cell = torch.arange(4 * 256.0).view(4, 16, 16)
    assert torch.equal(output[1, :, 16:32, 16:32], cell)


@pytest.mark.parametrize('options', [dict(gamma=3.0), dict(loss=dict(type='egmim_mm.EdgeWeightedL1Loss', gamma=3.0))])
def test_pixel_loss_is_that_of_the_config(options):
    torch.manual_seed(0)
    term = PixelTerm(**options)
    prediction, target, edge = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    mask = torch.rand(2, 16, 16) < 0.6
    weight = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None] * (1 + 3 * edge)
    per_sample = ((prediction - target).abs() * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)))
    loss = term.losses(prediction, MaskedBatch(target, target, edge, mask, {}))['pixel']
    assert loss.item() == pytest.approx(per_sample.mean().item(), rel=1e-5)


def structure_term(zero=False, **options):
    """A term that predicts something: the last convolution of its head starts at zero."""
    term = StructureTerm(channels=8, **options)
    term.connect(BACKBONE)
    if not zero:
        torch.nn.init.normal_(term.head.predict[1].weight, std=0.1)
    return term


@pytest.fixture
def batch():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 64)
    features = {0: torch.randn(2, 8, 16, 16), 1: torch.randn(2, 16, 8, 8)}
    return MaskedBatch(images, images, edge_prior(images), torch.rand(2, 16, 16) < 0.6, features)


def test_structure_head_begins_with_nothing_and_leaves_the_backbone_alone(batch):
    features = [f.requires_grad_() for f in batch.features.values()]
    term = structure_term(zero=True)
    sum(term.losses(term.predict(batch), batch).values()).backward()
    assert not term.predict(batch).any() and not any(f.grad.any() for f in features)
    assert term.head.predict[1].weight.grad.any()  # and learns from the first step on


def test_structure_losses_equal_their_definition(batch):
    term = structure_term()
    output = term.predict(batch)
    assert output.shape == (2, 10, 16, 16)
    losses = term.losses(output, batch)
    assert tuple(losses) == term.loss_names == ('edge', 'hog')
    hidden = batch.mask.float()

    strength = batch.edge.view(2, 16, 4, 16, 4).mean((2, 4))
    error = (output[:, 0] - strength).abs()
    error = torch.where(error < 0.1, error**2 / 0.2, error - 0.05)
    expected = ((error * hidden).sum((1, 2)) / hidden.sum((1, 2))).mean()
    assert losses['edge'].item() == pytest.approx(expected.item(), rel=1e-5)

    share = hidden.view(2, 8, 2, 8, 2).mean((2, 4))
    cells = output[:, 1:].reshape(2, 9, 8, 2, 8, 2).mean((3, 5))
    error = ((cells - hog(batch.images))**2).mean(1)
    expected = ((error * share).sum((1, 2)) / share.sum((1, 2))).mean()
    assert losses['hog'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_deeper_stage_is_upsampled_and_added(batch):
    head = EdgeStructureHead((8, 16), channels=8)
    torch.nn.init.normal_(head.predict[1].weight, std=0.1)
    shallow, deep = batch.features.values()
    joined = head.project[0](shallow) + F.interpolate(head.project[1](deep), scale_factor=2, mode='bilinear')
    assert torch.allclose(head([shallow, deep]), head.predict(joined), atol=1e-6)


def test_without_hog(batch):
    term = structure_term(hog_bins=0)
    assert tuple(term.losses(term.predict(batch), batch)) == term.loss_names == ('edge', )
    assert term.predict(batch).shape == (2, 1, 16, 16)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_structure_term_does_not_depend_on_the_layout_of_its_input(batch, layout):
    plain = [f.clone().requires_grad_() for f in batch.features.values()]
    features = [f.contiguous(memory_format=layout).requires_grad_() for f in batch.features.values()]
    term = structure_term()
    for maps in (plain, features):
        term.zero_grad()
        batch.features = dict(enumerate(maps))
        sum(term.losses(term.predict(batch), batch).values()).backward()
    assert all(torch.allclose(a.grad, b.grad, atol=1e-6) for a, b in zip(features, plain))
    # else distributed training copies, and warns of, every gradient
    assert all(p.grad.stride() == p.stride() for p in term.parameters())


def test_example_of_the_docs_is_a_term(build, normalized):
    # the code that docs/egmim.md shows, as it stands there
    page = (Path(__file__).parents[2] / 'docs/egmim.md').read_text(encoding='utf-8')
    source = page.split('## Add a loss term')[1].split('```python\n')[1].split('```')[0]
    assert len(source.splitlines()) <= 30
    exec(source, dict(__name__='brightness_term'))
    model = build(terms=[PIXEL, STRUCTURE, dict(type='egmim_mm.BrightnessTerm', weight=0.3)])
    assert model.backbone.out_indices == (0, 1, 2, 3)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    inputs = normalized(images, model)
    batch = model.encode(inputs)
    predicted = model.terms['brightness'].head(batch.features[2])[:, 0]
    cells = inputs.mean(1).view(2, 4, 16, 4, 16).mean((2, 4))
    share = batch.mask.view(2, 4, 4, 4, 4).float().mean((2, 4))
    expected = (((predicted - cells)**2 * share).sum((1, 2)) / share.sum((1, 2))).mean()
    losses = model.loss(inputs)
    assert losses['brightness'].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses['loss_brightness'].item() == pytest.approx(0.3 * expected.item(), rel=1e-5)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert list(model.balance.rescaled) == ['edge', 'hog', 'brightness']


def test_something_else_is_no_term(build):
    with pytest.raises(TypeError, match='model.terms holds a GradientL1Loss, which is no egmim_mm.models.LossTerm'):
        build(terms=[PIXEL, dict(type='egmim_mm.GradientL1Loss')])


def test_settings_of_the_balance_are_passed_on(build):
    assert build(balance=dict(rescale_at=7), terms=[PIXEL, GRADIENT]).balance.rescale_at == 7
