import numpy as np
import pytest
import torch

from egmim_mm.evaluation.representation import (
    effective_rank,
    feature_statistics,
    is_collapsed,
    mean_cosine,
    relative_std,
    sample_positions,
)


def gaussian(count, channels, seed=0, shift=0.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (count, channels)))


@pytest.mark.parametrize('shape', [(50, 8), (8, 50), (20, 20)])
def test_effective_rank_is_that_of_numpys_singular_values(shape):
    features = gaussian(*shape, shift=0.5)
    values = np.linalg.svd(features.numpy(), compute_uv=False)
    share = values / values.sum()
    assert float(effective_rank(features)) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)


def test_effective_rank_of_known_matrices():
    assert float(effective_rank(torch.outer(torch.arange(1.0, 40), torch.rand(16)))) == pytest.approx(1, abs=1e-3)
    assert float(effective_rank(torch.eye(16))) == pytest.approx(16)
    assert float(effective_rank(3 * torch.eye(16)[:4].repeat(5, 1))) == pytest.approx(4, abs=1e-3)
    assert 0.97 * 16 < float(effective_rank(gaussian(4000, 16))) < 16
    assert float(effective_rank(torch.zeros(5, 3))) == 0


def test_two_singular_values_of_86_and_14_percent_have_rank_one_and_a_half():
    assert float(effective_rank(torch.diag(torch.tensor([0.86, 0.14])))) == pytest.approx(1.5, abs=0.01)


def test_mean_cosine_is_the_mean_over_numpys_pairs():
    features = gaussian(30, 5, shift=0.7)
    unit = features.numpy() / np.linalg.norm(features, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[~np.eye(30, dtype=bool)]
    assert float(mean_cosine(features)) == pytest.approx(pairs.mean(), abs=1e-12)


def test_mean_cosine_of_known_vectors():
    assert float(mean_cosine(torch.rand(8).repeat(6, 1))) == pytest.approx(1)
    assert float(mean_cosine(torch.eye(5))) == pytest.approx(0, abs=1e-12)
    assert float(mean_cosine(torch.tensor([[1.0, 0], [-2, 0]]))) == pytest.approx(-1)
    assert abs(float(mean_cosine(gaussian(3000, 32)))) < 0.01


def test_relative_std():
    features = gaussian(200, 12, shift=0.3)
    unit = features.numpy() / np.linalg.norm(features, axis=1, keepdims=True)
    assert float(relative_std(features)) == pytest.approx(unit.std(0).mean() * np.sqrt(12), rel=1e-9)
    assert float(relative_std(gaussian(4000, 64))) == pytest.approx(1, abs=0.02)  # SimSiam: 1 / sqrt(D) without factor
    assert float(relative_std(torch.rand(8).repeat(6, 1))) == pytest.approx(0, abs=1e-9)
    assert float(relative_std(5 * features)) == pytest.approx(float(relative_std(features)))


def test_collapse_is_seen_while_it_comes():
    """Noise around one vector: less and less of it."""
    direction = torch.from_numpy(np.random.default_rng(1).normal(0, 1, 32))
    health = [feature_statistics(direction + noise * gaussian(500, 32)) for noise in (10, 1, 0.3, 0.05)]
    for name, order in (('cosine', 1), ('std', -1), ('effective_rank', -1)):
        assert (np.diff([order * values[name] for values in health]) > 0).all()
    assert [is_collapsed(values) for values in health] == [False, False, False, True]


def test_one_axis_is_a_collapse_though_the_directions_differ():
    axis = torch.outer(gaussian(500, 1)[:, 0], torch.rand(32, dtype=torch.float64))
    health = feature_statistics(axis + 1e-3 * gaussian(500, 32))
    assert abs(health['cosine']) < 0.1 and is_collapsed(health)


def test_features_that_are_not_numbers_are_no_health():
    features = gaussian(10, 4)
    features[3, 2] = float('nan')
    health = feature_statistics(features)
    assert all(np.isnan(value) for value in health.values()) and is_collapsed(health)


def test_positions_are_a_regular_grid_with_the_borders():
    feature_map = torch.arange(2 * 15 * 15.0).view(1, 2, 15, 15)
    places = sample_positions(feature_map, most=64)
    assert places.shape == (64, 2)
    rows = sorted({int(v) // 15 for v in places[:, 0]})
    assert rows == [0, 2, 4, 6, 8, 10, 12, 14]
    assert torch.equal(places[:, 1] - places[:, 0], torch.full((64, ), 225.0))
    assert torch.equal(sample_positions(feature_map[..., :3, :2], most=64),
                       feature_map[0, :, :3, :2].reshape(2, 6).T)


@pytest.mark.parametrize('features', [torch.rand(1, 4), torch.rand(4), torch.rand(2, 3, 4)])
@pytest.mark.parametrize('statistic', [effective_rank, mean_cosine, relative_std])
def test_other_shapes_are_refused(statistic, features):
    with pytest.raises(ValueError, match=r'features must be \(N, D\)'):
        statistic(features)
