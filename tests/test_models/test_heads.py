"""Heads: shapes are tied to strides, targets are the edge prior and HOG of hidden areas."""
import pytest
import torch
from torch.nn import functional as F

from egmim_mm.edges import edge_prior, hog
from egmim_mm.models.heads import EdgeStructureHead, EdgeWeightedReconstructionHead


def test_pixels_are_shuffled_into_place():
    head = EdgeWeightedReconstructionHead(8, out_channels=4, encoder_stride=16)
    torch.nn.init.zeros_(head.decoder[0].weight)
    head.decoder[0].bias.data = torch.arange(4 * 256.0)
    output = head(torch.zeros(2, 8, 3, 2))
    assert output.shape == (2, 4, 48, 32)
    # channel c of a cell is a 16 x 16 image, row by row
    cell = torch.arange(4 * 256.0).view(4, 16, 16)
    assert torch.equal(output[1, :, 16:32, 16:32], cell)


def test_pixel_loss_is_that_of_the_config():
    torch.manual_seed(0)
    head = EdgeWeightedReconstructionHead(8, loss=dict(type='egmim_mm.EdgeWeightedL1Loss', gamma=3.0))
    prediction, target, edge = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    hidden = (torch.rand(2, 1, 64, 64) < 0.6).float()
    weight = hidden * (1 + 3 * edge)
    per_sample = ((prediction - target).abs() * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)))
    assert head.loss(prediction, target, hidden, edge).item() == pytest.approx(per_sample.mean().item(), rel=1e-5)


def structure_head(*args, **options):
    """A head that predicts something: its last convolution starts at zero."""
    head = EdgeStructureHead(*args, **options)
    torch.nn.init.normal_(head.predict[1].weight, std=0.1)
    return head


def test_structure_head_begins_with_nothing_and_leaves_the_backbone_alone(structure):
    features, images, mask, edge = structure
    features = [f.requires_grad_() for f in features]
    head = EdgeStructureHead((8, 16), channels=8)
    sum(head.loss(features, images, mask, edge).values()).backward()
    assert not head(features).any() and not any(f.grad.any() for f in features)
    assert head.predict[1].weight.grad.any()  # and learns from the first step on


@pytest.fixture
def structure():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 64)
    features = [torch.randn(2, 8, 16, 16), torch.randn(2, 16, 8, 8)]
    return features, images, torch.rand(2, 16, 16) < 0.6, edge_prior(images)


def test_structure_losses_equal_their_definition(structure):
    features, images, mask, edge = structure
    head = structure_head((8, 16), channels=8)
    output = head(features)
    assert output.shape == (2, 10, 16, 16)
    losses = head.loss(*structure)
    hidden = mask.float()

    strength = edge.view(2, 16, 4, 16, 4).mean((2, 4))
    error = (output[:, 0] - strength).abs()
    error = torch.where(error < 0.1, error**2 / 0.2, error - 0.05)
    expected = ((error * hidden).sum((1, 2)) / hidden.sum((1, 2))).mean()
    assert losses['edge'].item() == pytest.approx(expected.item(), rel=1e-5)

    share = hidden.view(2, 8, 2, 8, 2).mean((2, 4))
    cells = output[:, 1:].reshape(2, 9, 8, 2, 8, 2).mean((3, 5))
    error = ((cells - hog(images))**2).mean(1)
    expected = ((error * share).sum((1, 2)) / share.sum((1, 2))).mean()
    assert losses['hog'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_deeper_stage_is_upsampled_and_added(structure):
    head = structure_head((8, 16), channels=8)
    shallow, deep = structure[0]
    joined = head.project[0](shallow) + F.interpolate(head.project[1](deep), scale_factor=2, mode='bilinear')
    assert torch.allclose(head([shallow, deep]), head.predict(joined), atol=1e-6)


def test_without_hog(structure):
    head = structure_head((8, 16), channels=8, hog_bins=0)
    assert list(head.loss(*structure)) == ['edge']
    assert head(structure[0]).shape == (2, 1, 16, 16)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_structure_head_does_not_depend_on_the_layout_of_its_input(structure, layout):
    features = [f.contiguous(memory_format=layout).requires_grad_() for f in structure[0]]
    torch.manual_seed(1)
    head = structure_head((8, 16), channels=8)
    losses = head.loss(features, *structure[1:])
    sum(losses.values()).backward()
    plain = [f.detach().clone().requires_grad_() for f in structure[0]]
    sum(head.loss(plain, *structure[1:]).values()).backward()
    assert all(torch.allclose(a.grad, b.grad, atol=1e-6) for a, b in zip(features, plain))
    # else distributed training copies, and warns of, every gradient
    assert all(p.grad.stride() == p.stride() for p in head.parameters())
