"""Losses against a few lines of NumPy."""
import numpy as np
import pytest
import torch
from mmpretrain.models.losses import PixelReconstructionLoss

from egmim_mm.models.losses import CellMSELoss, CosineAnchorLoss, EdgeWeightedL1Loss, GradientL1Loss


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


def gradient_reference(prediction, target, mask):
    values = []
    for x, y, m in zip(*(t.double().numpy() for t in (prediction, target, mask))):
        composite = np.where(m == 1, x, y)
        total = count = 0
        for axis, touched in ((1, np.maximum(m[:, 1:], m[:, :-1])), (2, np.maximum(m[..., 1:], m[..., :-1]))):
            total += (np.abs(np.diff(composite, axis=axis) - np.diff(y, axis=axis)) * touched).sum()
            count += len(x) * touched.sum()
        values.append(total / count)
    return np.mean(values)


def test_gradient_l1_equals_numpy(batch):
    expected = gradient_reference(*batch[:3])
    assert GradientL1Loss()(*batch[:3]).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_l1_is_zero_for_a_perfect_reconstruction(batch):
    prediction, target, mask, _ = batch
    perfect = torch.where(mask.bool(), target, prediction)  # visible pixels may be predicted as anything
    assert GradientL1Loss()(perfect, target, mask).item() == 0
    assert GradientL1Loss()(prediction, target, mask).item() > 1


def test_gradient_l1_sees_a_seam_and_nothing_else_of_a_constant_error():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    loss = GradientL1Loss()(torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), mask)
    # 16 of the 2 x 20 pairs of neighbours that touch the hidden square lie across its border
    assert loss.item() == pytest.approx(16 / 40)


def test_cosine_anchor_equals_numpy():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, 4, 4), torch.randn(3, 5, 2, 2)
    values = []
    for s, t in zip(student.double().numpy().mean((2, 3)), teacher.double().numpy().mean((2, 3))):
        values.append(1 - s @ t / (np.linalg.norm(s) * np.linalg.norm(t)))
    everything = torch.ones(3, dtype=torch.bool)
    assert CosineAnchorLoss()(student, teacher, everything).item() == pytest.approx(np.mean(values), rel=1e-5)
    two = torch.tensor([True, False, True])
    assert CosineAnchorLoss()(student, teacher, two).item() == pytest.approx((values[0] + values[2]) / 3, rel=1e-5)
    assert CosineAnchorLoss()(student, 3 * student, everything).item() == pytest.approx(0, abs=1e-6)
    assert CosineAnchorLoss()(student, -student, everything).item() == pytest.approx(2)


def test_batch_is_the_mean_of_its_samples(batch):
    for loss, tensors in ((EdgeWeightedL1Loss(), batch), (CellMSELoss(), batch[:3]), (GradientL1Loss(), batch[:3])):
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
    loss = (EdgeWeightedL1Loss()(prediction, target, 0 * mask, edge) + CellMSELoss()(prediction, target, 0 * mask)
            + GradientL1Loss()(prediction, target, 0 * mask)
            + CosineAnchorLoss()(prediction, target, torch.zeros(3, dtype=torch.bool)))
    loss.backward()
    assert loss.item() == 0 and torch.equal(prediction.grad, torch.zeros_like(prediction))


def test_half_precision_predictions_are_compared_in_float(batch):
    prediction, target, mask, edge = batch
    half, rounded = prediction.bfloat16(), prediction.bfloat16().float()
    for loss, expected in (
        (EdgeWeightedL1Loss()(half, target, mask, edge), reference(rounded, target, mask, edge, 1.0)),
        (GradientL1Loss()(half, target, mask), gradient_reference(rounded, target, mask))):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected, rel=1e-5)
