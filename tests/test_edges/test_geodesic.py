"""Maps brought to a finer grid along paths that cross no edge."""
import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.csgraph import dijkstra

from egmim_mm.edges import geodesic_distance, upsample_by_edges
from egmim_mm.edges.paths import corner_maximum, path_maximum


def wall(gap=False):
    """(1, 1, 64, 64): a vertical edge through the centre of the second of four columns of 16 px; perhaps with a gap."""
    edge = torch.zeros(1, 1, 64, 64)
    edge[..., 23:25] = 1
    if gap:
        edge[..., :16, :] = 0
    return edge


@pytest.mark.parametrize('coarse, fine', [((4, 4), (8, 8)), ((2, 4), (8, 16))])
def test_distance_is_the_shortest_path(coarse, fine):
    ratio = fine[0] // coarse[0]
    stride = 64 // fine[1]
    edge = 0.2 * torch.rand(1, 1, fine[0] * stride, 64, generator=torch.Generator().manual_seed(0))
    found = geodesic_distance(edge, coarse, fine, 2.0)[0].numpy()
    graph, number = lil_matrix((fine[0] * fine[1], ) * 2), np.arange(fine[0] * fine[1]).reshape(fine)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        strength = path_maximum(corner_maximum(edge), stride, (down, right))[0]
        for y, row in enumerate(strength):
            for x, value in enumerate(row.tolist()):
                x = x + max(0, -right)
                graph[number[y, x], number[y + down, x + right]] = np.hypot(down, right) / ratio + 2 * value
    corners = corner_maximum(edge)[0, 0].numpy()
    for place in range(coarse[0] * coarse[1]):
        y, x = place // coarse[1] * ratio + ratio // 2, place % coarse[1] * ratio + ratio // 2
        centre = fine[0] * fine[1] + 1  # one node more, beside an unused one
        whole = lil_matrix((centre + 1, centre + 1))
        whole[:centre - 1, :centre - 1] = graph
        for down, right in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            seen = [corners[y * stride - 1 + far * (2 * down + 1), x * stride - 1 + far * (2 * right + 1)]
                    for far in range(0, stride // 2 + 1, 2)]
            whole[centre, number[y + down, x + right]] = 0.5**0.5 / ratio + 2 * max(seen)
        rows, columns = np.divmod(np.arange(centre - 1), fine[1])
        outside = (np.abs(rows + 0.5 - y) > 1.5 * ratio) | (np.abs(columns + 0.5 - x) > 1.5 * ratio)
        whole = whole.tocsr()[~np.append(outside, [False, False])][:, ~np.append(outside, [False, False])]
        expected = np.full(centre - 1, np.inf)
        expected[~outside] = dijkstra(whole, directed=False, indices=whole.shape[0] - 1)[:-2]
        expected = expected.reshape(fine)
        near = np.abs(number // fine[1] + 0.5 - y) + np.abs(number % fine[1] + 0.5 - x) <= ratio
        np.testing.assert_allclose(found[place][near], expected[near], rtol=1e-5)
        assert (found[place] >= expected - 1e-5).all()


def test_no_value_comes_over_an_edge():
    values = torch.zeros(1, 2, 4, 4)
    values[..., 2:] = 1  # of 16 px; the edge is at 24 px
    values[:, 1] += 3
    sharp = upsample_by_edges(values, wall(), (8, 8))
    smooth = upsample_by_edges(values, wall(), (8, 8), cost=0.0)
    assert sharp.shape == (1, 2, 8, 8)
    torch.testing.assert_close(sharp[0, 1] - 3, sharp[0, 0], rtol=0, atol=1e-5)
    # columns 2 and 3 (of 8 px) make one coarse column, which the edge cuts: each takes from its own side
    assert sharp[0, 0, :, 3].min() > 0.9 and smooth[0, 0, :, 3].max() < 0.3
    assert sharp[0, 0, :, :3].max() < 0.05
    torch.testing.assert_close(smooth, upsample_by_edges(values, 0 * wall(), (8, 8)))


def test_a_path_leads_around_the_end_of_an_edge():
    closed, open_ = (geodesic_distance(edge, (4, 4), (8, 8), 2.0) for edge in (wall(), wall(gap=True)))
    assert open_[0, 0, 1, 3] < 2 < closed[0, 0, 1, 3]  # beside the gap
    assert closed[0, 12, 7, 0] == open_[0, 12, 7, 0]


def test_grids_must_fit():
    with pytest.raises(ValueError, match='a grid of 9 x 9 is no even multiple of 3 x 3'):
        upsample_by_edges(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 36, 36), (9, 9))
