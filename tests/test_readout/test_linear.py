import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from egmim_mm.readout.linear import channel_statistics, fit_logistic


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (900, ), generator=generator)
    features = torch.randn((900, 10), generator=generator) @ torch.randn((10, 10), generator=generator)
    features[:, :3] += 1.5 * F.one_hot(labels, 3)
    features[:, 9] = features[:, 8] + 1e-4 * features[:, 7]  # almost collinear
    mean, std = channel_statistics(features)
    return (features - mean) / std, labels


@pytest.mark.parametrize('l2', [1e-3, 1e-1])
def test_equals_scikit_learn(problem, l2):
    features, labels = problem
    weight, bias = fit_logistic(features, labels, 3, l2)
    theirs = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-8, max_iter=10000)
    theirs.fit(features.double().numpy(), labels.numpy())
    probability = F.linear(features, weight, bias).softmax(1)
    np.testing.assert_allclose(probability, theirs.predict_proba(features.double().numpy()), atol=3e-3)
    assert np.allclose(weight, theirs.coef_, atol=0.02)


def test_balanced_classes_equal_scikit_learns(problem):
    features, labels = problem
    kept = (labels != 1) | (torch.arange(len(labels)) % 9 == 0)  # one class is rare
    features, labels = features[kept], labels[kept]
    probability = F.linear(features, *fit_logistic(features, labels, 3, 1e-2, balanced=True)).softmax(1)
    theirs = LogisticRegression(C=100 / len(labels), class_weight='balanced', tol=1e-8, max_iter=10000)
    theirs.fit(features.double().numpy(), labels.numpy())
    np.testing.assert_allclose(probability, theirs.predict_proba(features.double().numpy()), atol=3e-3)


def test_is_deterministic(problem):
    assert torch.equal(fit_logistic(*problem, 3)[0], fit_logistic(*problem, 3)[0])


def test_class_without_samples_is_never_predicted(problem):
    features, labels = problem
    weight, bias = fit_logistic(features, labels, 4)
    assert not (F.linear(features, weight, bias).argmax(1) == 3).any()


def test_constant_channel_becomes_zero_not_nan():
    features = torch.tensor([[1.0, 3.0], [1.0, 5.0]])
    mean, std = channel_statistics(features)
    assert torch.equal((features - mean) / std, torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
