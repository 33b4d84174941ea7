"""Losses against a few lines of NumPy."""
import numpy as np
import pytest
import torch
from mmpretrain.models.losses import PixelReconstructionLoss

from egmim_mm.models.losses import CellMSELoss, EdgeWeightedL1Loss


@pytest.fixture
def batch():
    """Prediction, target (3, 4, 8, 8), mask with a different count per sample, edge strength."""
    torch.manual_seed(0)
    mask = (torch.rand(3, 1, 8, 8) < torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1, 1)).float()
    return torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), mask, torch.rand(3, 1, 8, 8)


def reference(prediction, target, mask, edge, gamma=0.0, beta=0.0):
    values = []
    for x, y, m, e in zip(*(t.double().numpy() for t in (prediction, target, mask, edge))):
        error = np.abs(x - y)
        if beta:
            error = np.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta)
        weight = m * (1 + gamma * e)
        values.append((error * weight).sum() / (x.shape[0] * weight.sum()))
    return np.mean(values)


@pytest.mark.parametrize('gamma, beta', [(0.0, 0.0), (1.0, 0.0), (2.5, 0.0), (0.0, 0.1), (1.0, 0.5)])
def test_weighted_l1_equals_numpy(batch, gamma, beta):
    assert EdgeWeightedL1Loss(gamma, beta)(*batch).item() == pytest.approx(reference(*batch, gamma, beta), rel=1e-5)


def test_without_edges_it_is_simmims_loss(batch):
    prediction, target, _, edge = batch
    mask = torch.zeros(3, 1, 8, 8)
    mask[..., 2:6] = 1  # the same count in every sample, as every mask policy guarantees
    stock = PixelReconstructionLoss('L1', channel=4)(prediction, target, mask)
    assert EdgeWeightedL1Loss(gamma=0.0)(prediction, target, mask, edge).item() == pytest.approx(stock.item(), rel=1e-5)


def test_cell_mse_equals_numpy(batch):
    prediction, target, _, share = batch
    values = [((x - y)**2 * m).sum() / (4 * m.sum())
              for x, y, m in zip(*(t.double().numpy() for t in (prediction, target, share)))]
    assert CellMSELoss()(prediction, target, share).item() == pytest.approx(np.mean(values), rel=1e-5)


def test_batch_is_the_mean_of_its_samples(batch):
    for loss, tensors in ((EdgeWeightedL1Loss(), batch), (CellMSELoss(), batch[:3])):
        samples = [loss(*(t[i:i + 1] for t in tensors)).item() for i in range(3)]
        assert loss(*tensors).item() == pytest.approx(np.mean(samples), rel=1e-5)


def test_an_edge_weighs_one_plus_gamma():
    prediction, target = torch.zeros(1, 1, 1, 2), torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    edge = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    loss = EdgeWeightedL1Loss(gamma=1.0)(prediction, target, torch.ones(1, 1, 1, 2), edge)
    assert loss.item() == pytest.approx(2 / 3)


def test_visible_pixels_do_not_count(batch):
    prediction, target, mask, edge = batch
    other = target + 100 * (1 - mask)
    assert torch.equal(EdgeWeightedL1Loss()(prediction, target, mask, edge),
                       EdgeWeightedL1Loss()(prediction, other, mask, edge))


def test_nothing_hidden_is_zero_with_zero_gradient(batch):
    prediction, target, mask, edge = batch
    prediction.requires_grad_()
    loss = EdgeWeightedL1Loss()(prediction, target, 0 * mask, edge) + CellMSELoss()(prediction, target, 0 * mask)
    loss.backward()
    assert loss.item() == 0 and torch.equal(prediction.grad, torch.zeros_like(prediction))


def test_half_precision_predictions_are_compared_in_float(batch):
    prediction, target, mask, edge = batch
    loss = EdgeWeightedL1Loss()(prediction.bfloat16(), target, mask, edge)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference(prediction.bfloat16().float(), target, mask, edge, 1.0), rel=1e-5)
