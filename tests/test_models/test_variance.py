"""Variance, covariance and uniformity of features, against NumPy and for features that have collapsed."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from egmim_terms import PIXEL

from egmim_mm.models import MaskedBatch, VarianceCovarianceTerm

ALL = dict(variance=1.0, covariance=0.04, uniformity=0.5)


def values(features, valid=None, **options):
    term = VarianceCovarianceTerm(**ALL | options)
    term.connect(SimpleNamespace(encode='dense'))
    side = 32 * features.shape[-1]
    images = torch.zeros(len(features), 3, side, side)
    mask = torch.zeros(len(features), side // 4, side // 4, dtype=torch.bool)
    losses = term.losses(None, MaskedBatch(images, images, images[:, :1], mask, {3: features}, valid=valid))
    assert tuple(losses) == term.loss_names
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize('holes', [False, True])
def test_losses_equal_their_definition(holes):
    features = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.8
    valid = torch.ones(4, 1, 96, 96, dtype=torch.bool)
    valid[1, :, 40, 70] = not holes
    x = features.permute(0, 2, 3, 1).reshape(36, 6).double().numpy()
    if holes:
        x = np.delete(x, 9 + 3 * 1 + 2, axis=0)
    covariance = np.cov(x.T)
    variance = np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
    apart = (covariance**2).sum() - (np.diag(covariance)**2).sum()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distances = ((unit[:, None] - unit)**2).sum(-1)[~np.eye(len(x), dtype=bool)]
    found = values(features, valid)
    assert found['variance'] == pytest.approx(variance, rel=1e-4)
    assert found['covariance'] == pytest.approx(0.04 * apart / 6, rel=1e-4)
    assert found['uniformity'] == pytest.approx(0.5 * np.log(np.exp(-2 * distances).mean()), rel=1e-4)


def test_collapsed_features_cost_more():
    spread = torch.randn(8, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    line, point = spread[:, :1] * torch.ones(1, 16, 1, 1), torch.ones_like(spread)
    costs = [values(x) for x in (spread, line, point)]
    assert costs[2]['variance'] == pytest.approx(0.99) and costs[0]['variance'] < 0.1
    assert costs[1]['covariance'] > 20 * costs[0]['covariance']
    assert costs[2]['uniformity'] == pytest.approx(0, abs=1e-5) and costs[0]['uniformity'] < costs[1]['uniformity'] < 0


@pytest.mark.parametrize('name', ['egmim_swin-tiny', 'egmim_swin-nano_visible'])
def test_trains_in_both_precisions(build, normalized, name):
    visible = {'backbone.arch.embed_dims': 16, 'mask_generator.cell_size': 16} if 'visible' in name else {}
    model = build(name, terms=[PIXEL, dict(type='egmim_mm.VarianceCovarianceTerm', stages=(2, 3), **ALL)],
                  nodata=dict(value=0), **visible)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images[:, :, :8, :8] = 0
    inputs = normalized(images, model)
    full = model.loss(inputs)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(inputs)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for term in ALL:
        assert losses[term].item() == pytest.approx(full[term].item(), rel=0.1, abs=1e-2)
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_visible_cells_without_data_do_not_count(build, normalized):
    options = {'backbone.arch.embed_dims': 16, 'mask_generator.cell_size': 16}
    model = build('egmim_swin-nano_visible', terms=[PIXEL, dict(type='egmim_mm.VarianceCovarianceTerm')],
                  nodata=dict(value=0), **options)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images[0, :, :32, :32] = 0
    data = model.terms['spread']._data(model.encode(normalized(images, model)), (2, 2))
    assert data[:, 0].tolist() == [[[0, 1], [1, 1]], [[1, 1], [1, 1]]]


@pytest.mark.parametrize('options, message', [
    (dict(variance=0, covariance=0), 'one of them above 0'),
    (dict(covariance=-1), 'must be 0 or more'),
    (dict(target=0), 'target=0 above 0'),
    (dict(stages=(5, )), r'some of 0, 1, 2, 3, got \(5,\)'),
])
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        VarianceCovarianceTerm(**options)
