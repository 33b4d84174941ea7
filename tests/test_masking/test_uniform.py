"""Policies that keep one cell of every 2 x 2 block: how many, which, and what is refused."""
import pytest
import torch

from egmim_mm.masking import UNIFORM_POLICIES, default_cell_size, default_ratio, sample_mask

policies = pytest.mark.parametrize('policy', UNIFORM_POLICIES)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def blocks(mask, cell):
    """(B, h, w) tokens -> (B, rows, columns, 4) cells of blocks, hidden or not; cells are hidden as a whole."""
    side = cell // 4
    cells = mask[:, ::side, ::side]
    assert torch.equal(cells.repeat_interleave(side, 1).repeat_interleave(side, 2), mask)
    return cells.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)


def edge_of(cells, batch):
    """(B, 1, 16 h, 16 w) edge strength from that of the four cells of every block, in reading order."""
    block = torch.tensor(cells).view(2, 2).repeat_interleave(16, 0).repeat_interleave(16, 1)
    return block.repeat(4, 4).expand(batch, 1, -1, -1)


@policies
@pytest.mark.parametrize('size, cell', [((128, 128), 16), ((224, 224), 16), ((64, 192), 16), ((128, 192), 32),
                                        ((48, 80), 8)])
@pytest.mark.parametrize('progress', [0.0, 0.5, 1.0])
def test_one_cell_of_every_block_is_kept(policy, size, cell, progress):
    edge = torch.rand(3, 1, *size, generator=seeded())
    edge[1] = 0
    mask = sample_mask(edge, policy=policy, cell_size=cell, progress=progress, generator=seeded())
    assert mask.shape == (3, size[0] // 4, size[1] // 4) and mask.dtype == torch.bool
    assert (blocks(mask, cell).sum(-1) == 3).all()
    assert mask.flatten(1).sum(1).tolist() == [3 * size[0] * size[1] // 64] * 3
    assert (mask[0] != mask[1]).any() and (mask[1] != mask[2]).any()  # every image has its own


def test_defaults():
    for policy in UNIFORM_POLICIES:
        assert default_cell_size(policy) == 16 and default_ratio(policy) == 0.75
    assert default_ratio('random') == default_ratio('edge_stratified') == 0.6
    edge = torch.rand(2, 1, 64, 64)
    assert torch.equal(sample_mask(edge, policy='edge_uniform', generator=seeded()),
                       sample_mask(edge, 0.75, 'edge_uniform', cell_size=16, keep='weak', generator=seeded()))


def kept_rates(policy, cells, **options):
    """How often each cell of a block is kept, of 16,000 draws; the standard error is .004 at most."""
    mask = sample_mask(edge_of(cells, 1000), policy=policy, generator=seeded(), **options)
    return (~blocks(mask, 16)).double().mean((0, 1, 2))


@pytest.mark.parametrize('keep, sign', [('weak', -1), ('strong', 1)])
@pytest.mark.parametrize('temperature', [0.25, 0.1, 2.0])
@pytest.mark.parametrize('progress', [1.0, 0.5])
def test_odds_follow_the_share_of_the_edges(keep, sign, temperature, progress):
    cells = [0.1, 0.2, 0.0, 0.7]
    rates = kept_rates('edge_uniform', cells, keep=keep, temperature=temperature, progress=progress)
    expected = (sign * progress * torch.tensor(cells, dtype=torch.float64) / temperature).softmax(0)
    assert (rates - expected).abs().max() < 0.017
    # twice the strength everywhere changes nothing
    doubled = kept_rates('edge_uniform', [min(1.0, 0.5 * c) for c in cells], keep=keep, temperature=temperature,
                         progress=progress)
    assert torch.allclose(rates, doubled, atol=1e-3)


def test_equal_odds_without_edges_or_guidance():
    quarter = torch.full((4, ), 0.25, dtype=torch.float64)
    for policy, cells, options in (('edge_uniform', [0.0] * 4, {}), ('edge_uniform', [0.6] * 4, {}),
                                   ('edge_uniform', [0.0, 0.1, 0.2, 0.9], dict(progress=0.0)),
                                   ('random_uniform', [0.0, 0.1, 0.2, 0.9], {})):
        assert (kept_rates(policy, cells, **options) - quarter).abs().max() < 0.017
    # both draw the same numbers
    edge = torch.rand(4, 1, 64, 64, generator=seeded())
    assert torch.equal(sample_mask(edge, policy='random_uniform', generator=seeded()),
                       sample_mask(edge, policy='edge_uniform', progress=0.0, generator=seeded()))


@policies
def test_blocks_with_no_data_hide_nothing(policy):
    edge = torch.rand(3, 1, 64, 96, generator=seeded())
    valid = torch.ones(3, 1, 64, 96, dtype=torch.bool)
    valid[0, :, 40, 70] = False
    valid[1] = False
    mask = sample_mask(edge, policy=policy, valid=valid, generator=seeded())
    hidden = blocks(mask, 16).sum(-1)
    assert hidden[0].tolist() == [[3, 3, 3], [3, 3, 0]] and hidden[1].sum() == 0 and (hidden[2] == 3).all()


@policies
@pytest.mark.parametrize('options, message', [
    (dict(ratio=0.6), 'keeps one cell of every 2 x 2 block, so its ratio is 0.75, not 0.6: set mask_generator.ratio'),
    (dict(cell_size=32), r'image size 96 x 128 px must be divisible by 64 px, the blocks of 2 x 2 cells'),
    (dict(cell_size=24), 'must be divisible by cell_size = 24'),
    (dict(keep='edges'), "keep = 'edges' of mask policy .*_uniform must be one of weak, strong"),
    (dict(temperature=0), 'temperature = 0 of mask policy .*_uniform must be above 0'),
])
def test_errors_name_the_value(policy, options, message):
    with pytest.raises(ValueError, match=message):
        sample_mask(torch.zeros(1, 1, 96, 128), policy=policy, **options)
