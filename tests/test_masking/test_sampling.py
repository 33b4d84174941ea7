"""Mask policies: the count is exact whatever the image holds, the rest is as the docstring says."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egmim_mm.masking import POLICIES as ALL
from egmim_mm.masking import UNIFORM_POLICIES, masked_token_count, sample_mask

POLICIES = tuple(policy for policy in ALL if policy not in UNIFORM_POLICIES)  # those of any ratio
SINGLE = ('random', 'edge_stratified', 'edge_topk', 'edge_inverse')  # one granularity
ADAPTIVE = ('edge_adaptive', 'random_adaptive')


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def contents(size, seed=0):
    """(5, 1, size, size): textured, black, saturated, one edge cell only, flat but for one half."""
    texture = torch.rand(1, 1, size, size, generator=seeded(seed))
    one_cell = torch.zeros(1, 1, size, size)
    one_cell[..., 32:64, :32] = texture[..., :32, :32]
    half = texture.clone()
    half[..., size // 2:] = 0
    return torch.cat([texture, torch.zeros_like(texture), torch.ones_like(texture), one_cell, half])


def counts(mask):
    return mask.flatten(1).sum(1).tolist()


@settings(max_examples=60, deadline=None)
@given(policy=st.sampled_from(POLICIES), size=st.sampled_from([128, 192, 224, 256]), ratio=st.floats(0.05, 0.95),
       fine=st.sampled_from([8, 16, 32]), progress=st.floats(0, 1), seed=st.integers(0, 99))
def test_count_is_the_same_in_every_sample(policy, size, ratio, fine, progress, seed):
    mask = sample_mask(contents(size, seed), ratio, policy, fine_cell_size=fine, progress=progress,
                       generator=seeded(seed))
    assert mask.shape == (5, size // 4, size // 4) and mask.dtype == torch.bool
    assert counts(mask) == [masked_token_count(size, size, ratio)] * 5


@pytest.mark.parametrize('size', [64, 96, 128, 192, 224, 256])
def test_policies_and_granularities_hide_the_same_count(size):
    expected = round(0.6 * (size // 32)**2) * 64
    settings_ = [dict(policy=policy, cell_size=cell) for policy in SINGLE for cell in (32, 16, 8)]
    settings_ += [dict(policy=policy, cell_size=cell, fine_cell_size=fine) for policy in ADAPTIVE
                  for cell, fine in ((32, 16), (32, 8), (16, 8))]
    for options in settings_:
        assert counts(sample_mask(contents(size), generator=seeded(), **options)) == [expected] * 5
    assert masked_token_count(size, size, 0.6) == expected


def test_height_and_width_may_differ():
    for policy in POLICIES:
        mask = sample_mask(torch.rand(2, 1, 64, 160), policy=policy, generator=seeded())
        assert mask.shape == (2, 16, 40) and counts(mask) == [6 * 64] * 2


@pytest.mark.parametrize('policy', ALL)
def test_seed_decides(policy):
    edge = contents(128)
    first = sample_mask(edge, policy=policy, generator=seeded(1))
    assert torch.equal(first, sample_mask(edge, policy=policy, generator=seeded(1)))
    other = sample_mask(edge, policy=policy, generator=seeded(2))
    # negative controls draw nothing but ties: flat images (1 and 2) differ, the textured one does not
    drawn = [1, 2] if policy in ('edge_topk', 'edge_inverse') else range(5)
    assert all((first[i] != other[i]).any() for i in drawn)
    assert (first[1] != first[2]).any()  # samples of a batch differ


@pytest.mark.parametrize('policy', ALL)
def test_parts_of_shards_in_order_equal_the_global_batch(policy):
    edge = torch.rand(12, 1, 64, 64, generator=seeded(0))
    whole = sample_mask(edge, policy=policy, generator=seeded(5))
    for rank in range(2):
        own = edge[rank::2]  # of two processes
        parts = [sample_mask(own[2 * n:2 * n + 2], policy=policy, generator=seeded(5), shard=(rank, 2), part=(n, 3))
                 for n in range(3)]
        assert torch.equal(torch.cat(parts), whole[rank::2])


@pytest.mark.parametrize('policy', ALL)
@pytest.mark.parametrize('world', [2, 3])
def test_shards_interleaved_equal_the_global_batch(policy, world):
    edge = torch.rand(6, 1, 128, 128, generator=seeded())
    whole = sample_mask(edge, policy=policy, generator=seeded(5))
    for rank in range(world):
        part = sample_mask(edge[rank::world], policy=policy, generator=seeded(5), shard=(rank, world))
        assert torch.equal(part, whole[rank::world])


@pytest.mark.parametrize('cell', [32, 16])
def test_random_hides_whole_cells_uniformly(cell):
    mask = sample_mask(torch.zeros(4000, 1, 128, 128), 0.5, 'random', cell_size=cell, generator=seeded())
    step = cell // 4
    cells = mask[:, ::step, ::step]
    assert torch.equal(cells.repeat_interleave(step, 1).repeat_interleave(step, 2), mask)
    hidden = cells.flatten(1).double()
    number, draws = hidden.shape[1], hidden.shape[0]
    # every cell is hidden half of the time; each deviation has variance draws / 4 and they sum to zero
    chi_square = ((hidden.sum(0) - draws / 2)**2 / (draws / 4)).sum() * (number - 1) / number
    assert abs(chi_square - (number - 1)) < 4 * (2 * (number - 1))**0.5
    # and no two cells depend on each other, but for the fixed count
    correlation = torch.corrcoef(hidden.T) - torch.eye(number)
    expected = -1 / (number - 1) * (1 - torch.eye(number))
    assert (correlation - expected).abs().max() < 5 / draws**0.5


def test_random_does_not_look_at_edges():
    textured = sample_mask(torch.rand(3, 1, 128, 128), policy='random', generator=seeded())
    assert torch.equal(textured, sample_mask(torch.zeros(3, 1, 128, 128), policy='random', generator=seeded()))


def fine_cells(mask):
    """(B, h, w) tokens -> (B, rows, cols) 16-px cells; fails where a cell is only partly hidden."""
    cells = mask[:, ::4, ::4]
    assert torch.equal(cells.repeat_interleave(4, 1).repeat_interleave(4, 2), mask)
    return cells


def test_flat_half_in_coarse_cells_edge_half_in_fine_ones():
    edge = torch.rand(32, 1, 128, 256, generator=seeded())
    edge[..., 128:] *= 0.01
    cells = fine_cells(sample_mask(edge, policy='edge_adaptive', generator=seeded()))  # (32, 8, 16)
    flat = cells[..., 8:]
    assert torch.equal(flat[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2), flat)
    assert flat.flatten(1).sum(1).tolist() == [round(0.6 * 16) * 4] * 32  # the ratio holds in each half
    edges = cells[..., :8]
    quarters = edges.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).sum(-1)  # hidden fine cells per coarse cell
    partly = ((quarters > 0) & (quarters < 4)).float().mean()
    assert partly > 0.7  # 1 - .6^4 - .4^4 = .84 for independent sub-cells


@pytest.mark.parametrize('ratio, progress', [(0.6, 0.0), (0.6, 0.5), (0.6, 1.0), (0.75, 1.0), (0.4, 1.0)])
def test_strongest_edge_cells_are_hidden_at_the_curriculum_rate(ratio, progress):
    size, cells = 256, 64
    edge = torch.rand(8, 1, size // 16, size // 16, generator=seeded())
    edge[..., size // 32:] *= 0.01  # the right half is flat
    mask = sample_mask(edge.repeat_interleave(16, 2).repeat_interleave(16, 3), ratio, 'edge_adaptive',
                       progress=progress, generator=seeded(3))
    hidden = fine_cells(mask)[..., :8].flatten(1)
    strength = edge[:, 0, :, :8].flatten(1)
    number = strength.shape[1]
    top = strength.argsort(1, descending=True)[:, :round(0.4 * number)]
    rate = min(0.9, ratio * (1 + 0.25 * progress))
    assert hidden.gather(1, top).sum(1).tolist() == [round(rate * top.shape[1])] * 8
    in_flat = round(ratio * cells / 2) * 4
    assert hidden.sum(1).tolist() == [round(ratio * cells) * 4 - in_flat] * 8


@pytest.mark.parametrize('policy', ['edge_adaptive', 'edge_stratified'])
def test_strong_edges_outside_the_top_are_hidden_less(policy):
    edge = torch.rand(200, 1, 128, 128, generator=seeded())
    early, late = (fine_cells(sample_mask(edge, policy=policy, progress=p, generator=seeded())).flatten(1)
                   for p in (0.0, 1.0))
    strength = torch.nn.functional.avg_pool2d(edge, 16).flatten(1)
    strongest = strength.argsort(1, descending=True)[:, :10]
    assert late.gather(1, strongest).float().mean() > early.gather(1, strongest).float().mean() + 0.05
    assert early.sum() == late.sum()


@pytest.mark.parametrize('policy', ['edge_adaptive', 'edge_stratified'])
def test_flat_image_is_hidden_without_a_preferred_position(policy):
    mask = sample_mask(torch.zeros(2000, 1, 128, 128), policy=policy, generator=seeded())
    rates = fine_cells(mask).double().mean(0)
    # 10 of 16 cells; the standard error of a rate is .011
    assert (rates - 0.625).abs().max() < 0.045
    corners = torch.stack([rates[i::2, j::2].mean() for i in (0, 1) for j in (0, 1)])
    assert (corners - 0.625).abs().max() < 0.012


@pytest.mark.parametrize('policy', ['edge_adaptive', 'edge_stratified'])
def test_few_edge_cells(policy):
    edge = torch.zeros(400, 1, 128, 128)
    edge[..., :32, 32:64] = torch.rand(400, 1, 32, 32, generator=seeded())
    mask = sample_mask(edge, policy=policy, generator=seeded())
    assert counts(mask) == [640] * 400
    cells = fine_cells(mask)[:, :2, 2:4].flatten(1).float()
    assert abs(cells.mean() - 0.75) < 0.06  # all four are among the top: r (1 + beta)


@pytest.mark.parametrize('options, message', [
    (dict(policy='edge_random'), "unknown mask policy 'edge_random'; choose one of random, edge_adaptive, "),
    (dict(ratio=0), r'mask ratio must lie in \(0, 1\), got 0'),
    (dict(ratio=1), r'mask ratio must lie in \(0, 1\), got 1'),
    (dict(ratio=60), r'mask ratio must lie in \(0, 1\), got 60'),
    (dict(cell_size=48), 'image size 128 x 128 px must be divisible by cell_size = 48'),
    (dict(policy='edge_adaptive', fine_cell_size=12), 'cell_size = 32 must be a multiple of fine_cell_size = 12'),
    (dict(policy='edge_adaptive', fine_cell_size=2), 'cell_size = 32 must be a multiple of fine_cell_size = 2'),
    (dict(policy='random', cell_size=2), 'cell_size = 2 must be a multiple of token_size = 4'),
])
def test_errors_name_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        sample_mask(torch.zeros(1, 1, 128, 128), **options)


def test_indivisible_image_is_an_error():
    with pytest.raises(ValueError, match='image size 100 x 128 px'):
        sample_mask(torch.zeros(1, 1, 100, 128))
    with pytest.raises(ValueError, match='cell_size = 24 must divide 32 px'):
        sample_mask(torch.zeros(1, 1, 96, 96), policy='random', cell_size=24)


def test_ratio_that_hides_nothing_or_everything_is_refused():
    with pytest.raises(ValueError, match='rounds to all or none'):
        sample_mask(torch.rand(1, 1, 64, 64), ratio=0.1)
    with pytest.raises(ValueError, match='rounds to all or none'):
        sample_mask(torch.rand(1, 1, 64, 64), ratio=0.95, policy='random')


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('size, cell, squares', [((128, 192), 64, 6), ((96, 96), 96, 1), ((48, 80), 16, 15),
                                                 ((40, 24), 8, 15), ((224, 224), 16, 49), ((256, 384), 64, 24)])
def test_any_size_divisible_by_the_cell(policy, size, cell, squares):
    edge = torch.rand(2, 1, *size, generator=seeded())
    options = dict(policy=policy, cell_size=cell, fine_cell_size=8)
    if squares == 1:
        with pytest.raises(ValueError, match='rounds to all or none'):
            sample_mask(edge, **options)
        return
    unit = cell if cell > 32 or size[0] % 32 else 32
    assert counts(sample_mask(edge, generator=seeded(), **options)) == [round(0.6 * squares) * (unit // 4)**2] * 2


def test_topk_and_inverse_hide_exactly_the_extremes():
    edge = torch.rand(3, 1, 8, 8, generator=seeded()).repeat_interleave(16, 2).repeat_interleave(16, 3)
    strength = edge[:, 0, ::16, ::16].flatten(1)
    for policy, descending in (('edge_topk', True), ('edge_inverse', False)):
        hidden = fine_cells(sample_mask(edge, policy=policy, cell_size=16, generator=seeded())).flatten(1)
        expected = strength.argsort(1, descending=descending)[:, :40]  # round(.6 * 16) * 4
        assert torch.equal(hidden.nonzero()[:, 1].view(3, 40), expected.sort(1).values)


@pytest.mark.parametrize('progress', [0.0, 1.0])
def test_stratified_hides_the_top_at_the_raised_rate(progress):
    edge = torch.rand(5, 1, 16, 16, generator=seeded()).repeat_interleave(16, 2).repeat_interleave(16, 3)
    hidden = fine_cells(sample_mask(edge, policy='edge_stratified', cell_size=16, progress=progress,
                                    generator=seeded())).flatten(1)
    top = edge[:, 0, ::16, ::16].flatten(1).argsort(1, descending=True)[:, :102]  # round(.4 * 256)
    assert hidden.gather(1, top).sum(1).tolist() == [round(0.6 * (1 + 0.25 * progress) * 102)] * 5
    assert hidden.sum(1).tolist() == [round(0.6 * 64) * 4] * 5


def test_random_adaptive_has_the_granularity_of_edge_adaptive_and_no_preference():
    edge = torch.rand(3000, 1, 128, 128, generator=seeded())
    edge[..., 64:] *= 0.01
    blind = fine_cells(sample_mask(edge, policy='random_adaptive', generator=seeded()))
    assert torch.equal(blind, fine_cells(
        sample_mask(torch.zeros_like(edge), policy='edge_adaptive', generator=seeded())))
    assert (blind.double().mean(0) - 0.625).abs().max() < 0.04  # 10 of 16 cells everywhere; standard error .009
    guided = fine_cells(sample_mask(edge, policy='edge_adaptive', generator=seeded()))

    def partly(cells):  # coarse cells of which some, but not all, fine cells are hidden
        quarters = cells.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).sum(-1)
        return ((quarters > 0) & (quarters < 4)).double().mean()

    assert partly(blind) == pytest.approx(partly(guided).item(), rel=0.03)


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('cell', [32, 16])
def test_no_data_is_neither_hidden_nor_counted(policy, cell):
    edge = torch.rand(4, 1, 128, 128, generator=seeded())
    valid = torch.ones(4, 1, 128, 128, dtype=torch.bool)
    valid[0, :, 5, 70] = False  # one pixel takes one 32-px square out
    valid[1, :, :, 50:] = False  # one column of four squares is left
    valid[2] = False
    mask = sample_mask(edge, policy=policy, cell_size=cell, fine_cell_size=8, valid=valid, generator=seeded())
    assert counts(mask) == [round(0.6 * squares) * 64 for squares in (15, 4, 0, 16)]
    tokens = valid[:, 0].unfold(1, 4, 4).unfold(2, 4, 4).flatten(3).all(-1)
    assert not (mask & ~tokens).any()
    assert not mask[0, :8, 16:24].any()
    # all data valid: the same masks as without
    options = dict(policy=policy, cell_size=cell, fine_cell_size=8)
    everywhere = torch.ones_like(valid)
    assert torch.equal(sample_mask(edge, valid=everywhere, generator=seeded(), **options),
                       sample_mask(edge, generator=seeded(), **options))


def test_wrong_valid_is_named():
    edge = torch.zeros(2, 1, 64, 64)
    for valid in (torch.ones(2, 64, 64, dtype=torch.bool), torch.ones(2, 1, 64, 64)):
        with pytest.raises(ValueError, match=r'valid must be bool of shape \(2, 1, 64, 64\)'):
            sample_mask(edge, valid=valid)


def test_default_is_stratified_in_16_px_cells_and_random_has_simmims_32():
    edge = torch.rand(4, 1, 128, 128, generator=seeded())
    assert torch.equal(sample_mask(edge, generator=seeded()),
                       sample_mask(edge, policy='edge_stratified', cell_size=16, generator=seeded()))
    assert torch.equal(sample_mask(edge, policy='random', generator=seeded()),
                       sample_mask(edge, policy='random', cell_size=32, generator=seeded()))
