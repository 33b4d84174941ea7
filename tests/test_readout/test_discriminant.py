import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from egmim_mm.readout import fit_discriminant


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (900, ), generator=generator).clamp_min(1) - 1  # two thirds and one third
    labels[:100] = 2
    features = torch.randn((900, 10), generator=generator) @ torch.randn((10, 10), generator=generator)
    features[:, :3] += 1.5 * F.one_hot(labels, 3)
    features[:, 9] = features[:, 8] + 1e-4 * features[:, 7]  # almost collinear
    return features, labels


@pytest.mark.parametrize('shrinkage', [0.01, 0.1, 1.0])
def test_equals_scikit_learn(problem, shrinkage):
    features, labels = problem
    weight, bias = fit_discriminant(features, labels, 3, shrinkage)
    theirs = LinearDiscriminantAnalysis(solver='lsqr', shrinkage=shrinkage, priors=np.full(3, 1 / 3))
    theirs.fit(features.double().numpy(), labels.numpy())
    probability = F.linear(features, weight, bias).softmax(1)
    np.testing.assert_allclose(probability, theirs.predict_proba(features.double().numpy()), atol=1e-4)


def test_one_cell_of_a_class_is_enough():
    features = torch.tensor([[0., 0.], [0., 1.], [1., 0.], [5., 5.]])
    weight, bias = fit_discriminant(features, torch.tensor([0, 0, 0, 1]), 2)
    assert F.linear(features, weight, bias).argmax(1).tolist() == [0, 0, 0, 1]


def test_equal_cells_within_each_class():
    features = torch.tensor([[0.], [0.], [2.], [2.]])
    weight, bias = fit_discriminant(features, torch.tensor([0, 0, 1, 1]), 2)
    assert torch.isfinite(weight).all() and torch.isfinite(bias).all()
    assert F.linear(torch.tensor([[0.9], [1.1]]), weight, bias).argmax(1).tolist() == [0, 1]
