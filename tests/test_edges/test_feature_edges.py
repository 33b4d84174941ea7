"""Edges of feature maps against loops over their tokens."""
import math

import pytest
import torch

from egmim_mm.edges import feature_response, supported_places


def by_hand(features, data):
    """Response of every token: root of the mean squared distances in the row and in the column."""
    unit = features / features.norm(dim=0)
    _, height, width = features.shape
    response = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            for pairs in (((y - 1, x), (y + 1, x)), ((y, x - 1), (y, x + 1))):
                apart = [(unit[:, y, x] - unit[:, i, j]).square().sum().item() for i, j in pairs
                         if 0 <= i < height and 0 <= j < width and data[y, x] and data[i, j]]
                response[y, x] += sum(apart) / max(len(apart), 1)
    return response.sqrt()


@pytest.mark.parametrize('holes', [False, True])
def test_response_equals_its_definition(holes):
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(2, 1, 16, 24, dtype=torch.bool)
    if holes:
        valid[1, 0, 0, 0] = False
    found = feature_response(features, (16, 24), valid if holes else None)
    for b in range(2):
        expected = by_hand(features[b], valid[b, 0].unfold(0, 4, 4).unfold(1, 4, 4).all(3).all(2))
        expected = torch.nn.functional.interpolate(expected[None, None], size=(16, 24), mode='bilinear')[0, 0]
        counted = torch.ones(16, 24, dtype=torch.bool)
        if holes and b == 1:
            counted[:8, :8] = False  # the token and its neighbours
        torch.testing.assert_close(found[b, 0], expected.where(counted, torch.zeros(())))
        assert torch.equal(supported_places(valid, 4)[b, 0], counted)


def test_opposite_halves_are_an_edge_between_them():
    features = torch.ones(1, 3, 4, 4)
    features[..., 2:] = -5  # length does not matter
    found = feature_response(features, (4, 4))[0, 0]
    assert found[:, 0].max() == 0 and torch.allclose(found[:, 1:3], torch.tensor(math.sqrt(2.0)))
    assert feature_response(torch.ones(1, 3, 1, 1), (4, 4)).max() == 0  # one token has no neighbours
