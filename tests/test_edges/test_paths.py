"""Largest edge between two tokens, against a walk along every line."""
import pytest
import torch

from egmim_mm.edges.paths import corner_maximum, pair, path_maximum, straight_offsets


@pytest.mark.parametrize('stride', [4, 8, 16])
def test_path_maximum_equals_a_walk(stride):
    values = torch.rand(2, 1, 48, 64, generator=torch.Generator().manual_seed(0))
    h, w = 48 // stride, 64 // stride
    for down, right in straight_offsets(2):
        found = path_maximum(corner_maximum(values), stride, (down, right))
        starts = [(y, x) for y in range(h) for x in range(w) if y + down < h and 0 <= x + right < w]
        for (y, x), value in zip(starts, found.flatten(1).T):
            cy, cx, n = stride * y + stride // 2, stride * x + stride // 2, max(down, abs(right)) * stride // 2
            points = [(cy + down * stride * k // n, cx + right * stride * k // n) for k in range(n + 1)]
            walked = torch.stack([values[:, 0, a - 1:a + 1, b - 1:b + 1].amax((1, 2)) for a, b in points]).amax(0)
            assert torch.equal(value, walked)


def test_one_edge_separates_the_pairs_across_it():
    edge = torch.zeros(1, 1, 32, 32)
    edge[..., 15:17] = 1
    assert path_maximum(corner_maximum(edge), 4, (0, 1))[0, 0].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert path_maximum(corner_maximum(edge), 4, (0, 2))[0, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert not path_maximum(corner_maximum(edge), 4, (1, 0)).any()


def test_mirrored_edges_give_mirrored_paths():
    values = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for down, right in straight_offsets(2):
        mirrored = path_maximum(corner_maximum(values.flip(3)), 8, (down, -right)).flip(2)
        assert torch.equal(mirrored, path_maximum(corner_maximum(values), 8, (down, right)))


def test_pairs_are_in_the_order_of_the_paths():
    places = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(5), indexing='ij'))[None]
    for offset in straight_offsets(2):
        first, second = pair(places, offset)
        assert (second - first == torch.tensor(offset).view(2, 1, 1)).all()
        assert first.shape[-2:] == path_maximum(torch.zeros(1, 1, 15, 19), 4, offset).shape[-2:]
