"""Curricula of masks, and cells of 8 px with every policy."""
import pytest
import torch

from egmim_mm.masking import POLICIES, masked_token_count, sample_mask, scheduled
from egmim_mm.models import EdgeGuidedMaskGenerator

EDGE = torch.rand(3, 1, 128, 128, generator=torch.Generator().manual_seed(0))


def seeded():
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize('schedule, progress, expected', [
    (dict(), 0.3, (0.3, dict())),
    (dict(emphasis='full'), 0.3, (1.0, dict())),
    (dict(emphasis='falling'), 0.3, (0.7, dict())),
    (dict(ratio=(0.4, 0.8)), 0.25, (0.25, dict(ratio=0.5))),
    (dict(cell_size=[32, 16, 8]), 0.0, (0.0, dict(cell_size=32))),
    (dict(cell_size=[32, 16, 8]), 0.5, (0.5, dict(cell_size=16))),
    (dict(cell_size=[32, 16, 8]), 1.0, (1.0, dict(cell_size=8))),
])
def test_settings_of_a_step(schedule, progress, expected):
    emphasis, now = scheduled(schedule, progress)
    assert emphasis == pytest.approx(expected[0]) and now == pytest.approx(expected[1])


def test_generator_follows_its_schedule():
    draw = EdgeGuidedMaskGenerator(schedule=dict(emphasis='falling', ratio=(0.4, 0.8), cell_size=[32, 16]))
    for progress, ratio, cell in ((0.0, 0.4, 32), (0.75, 0.7, 16)):
        mask = draw(EDGE, progress, seeded())
        assert torch.equal(mask, sample_mask(EDGE, ratio, cell_size=cell, progress=1 - progress, generator=seeded()))
        assert mask.flatten(1).sum(1).tolist() == [masked_token_count(128, 128, ratio)] * 3
    assert draw.image_multiple == 32 and draw.of_policy('random').cell_sizes == (32, 16)


@pytest.mark.parametrize('policy', POLICIES)
def test_cells_of_8_px(policy):
    sizes = dict(cell_size=16, fine_cell_size=8) if 'adaptive' in policy else dict(cell_size=8)
    mask = EdgeGuidedMaskGenerator(policy, **sizes)(EDGE, 0.5, seeded())
    cells = mask.view(3, 16, 2, 16, 2).float().mean((2, 4))
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    assert set(mask.view(3, 8, 4, 8, 4).float().mean((2, 4)).unique().tolist()) - {0.0, 1.0}  # finer than 16 px
    ratio = 0.75 if 'uniform' in policy else 0.6
    assert mask.flatten(1).sum(1).tolist() == [masked_token_count(128, 128, ratio)] * 3


@pytest.mark.parametrize('schedule, policy, message', [
    (dict(beta=(0, 1)), 'random', 'schedule has no beta'),
    (dict(emphasis='up'), 'random', "emphasis must be one of rising, full, falling, got 'up'"),
    (dict(ratio=0.5), 'random', r'ratio must be \(first, last\)'),
    (dict(ratio=(0.5, 1.0)), 'random', r'ratio must be \(first, last\)'),
    (dict(ratio=(0.5, 0.6)), 'edge_uniform', 'edge_uniform has a fixed ratio'),
    (dict(cell_size=16), 'random', 'cell_size must be a list of sides'),
])
def test_errors(schedule, policy, message):
    with pytest.raises(ValueError, match=message):
        EdgeGuidedMaskGenerator(policy, schedule=schedule)
