"""Edge affinity: alike where no edge is between, apart across one; its controls."""
import math
from types import SimpleNamespace

import pytest
import torch
from egmim_terms import PIXEL, STRUCTURE
from torch.nn import functional as F

from egmim_mm.edges.paths import corner_maximum, path_maximum, straight_offsets
from egmim_mm.models import EdgeAffinityTerm, MaskedBatch
from egmim_mm.models.terms.affinity import edges_of

BACKBONE = SimpleNamespace(num_features=[8, 16, 32, 64])


def connected(**options):
    term = EdgeAffinityTerm(**dict(stages=(1, ), project=0) | options)
    term.connect(BACKBONE)
    return term


def made(edge, features, stage=1, valid=None):
    images = torch.zeros(len(edge), 3, *edge.shape[-2:])
    mask = torch.zeros(len(edge), edge.shape[-2] // 4, edge.shape[-1] // 4, dtype=torch.bool)
    return MaskedBatch(images, images, edge, mask, {stage: features}, valid=valid)


def value(term, batch):
    return term.losses(term.predict(batch), batch)['affinity']


def two_sides():
    """An edge down the middle, and features that differ across it: (1, 16, 4, 8) at stride 8."""
    edge = torch.zeros(1, 1, 32, 64)
    edge[..., 30:34] = 1
    features = torch.zeros(1, 16, 4, 8)
    features[:, 0, :, :4], features[:, 1, :, 4:] = 3, 5
    return edge, features


@pytest.mark.parametrize('form', ['bce', 'margin'])
@pytest.mark.parametrize('holes', [False, True])
def test_loss_equals_its_definition(form, holes):
    torch.manual_seed(0)
    edge, features = F.interpolate(torch.rand(2, 1, 8, 8)**4, scale_factor=8), torch.randn(2, 16, 8, 8)
    valid = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    valid[0, 0, 10:30, 5:12] = not holes
    pulls, pushes = [[], []], [[], []]
    for b in range(2):
        for down, right in straight_offsets(2):
            strength = path_maximum(corner_maximum(edge), 8, (down, right))[b]
            blocked = path_maximum(corner_maximum((~valid).float()), 8, (down, right))[b]
            for i, y in enumerate(range(8 - down)):
                for j, x in enumerate(range(max(0, -right), 8 - max(0, right))):
                    ends = [(y, x), (y + down, x + right)]
                    if blocked[i, j] or not all(valid[b, 0, 8 * r:8 * r + 8, 8 * c:8 * c + 8].all() for r, c in ends):
                        continue
                    one, two = (features[b, :, r, c] for r, c in ends)
                    s = float(one @ two / one.norm() / two.norm())
                    z = (s - 0.5) / 0.2
                    if strength[i, j] <= 0.15:
                        pulls[b].append(math.log1p(math.exp(-z)) if form == 'bce' else 1 - s)
                    if strength[i, j] >= 0.5:
                        pushes[b].append(math.log1p(math.exp(z)) if form == 'bce' else max(0, s - 0.5))
    assert min(map(len, pulls + pushes)) > 3
    expected = sum(0.5 * sum(p[b]) / len(p[b]) for b in range(2) for p in (pulls, pushes)) / 2
    found = value(connected(form=form), made(edge, features, valid=valid if holes else None))
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_only_features_that_follow_edges_are_better_than_none():
    edge, features = two_sides()
    term = connected()
    right, constant = value(term, made(edge, features)), value(term, made(edge, torch.ones_like(features)))
    moved = value(term, made(edge, features.roll(2, 3)))
    assert right.item() == pytest.approx(math.log1p(math.exp(-2.5)))
    assert right < math.log(2) < min(constant, moved)  # log 2: the similarity says nothing
    assert value(connected(form='margin'), made(edge, features)) == 0


def test_controls_take_other_edges():
    edge, features = two_sides()
    edge, features = torch.cat([edge, torch.zeros_like(edge)]), features.repeat(2, 1, 1, 1)
    own, other = value(connected(), made(edge, features)), value(connected(edges='other'), made(edge, features))
    assert own == other  # of two images one has an edge, and the features are the same
    features[1] = 1
    assert value(connected(edges='other'), made(edge, features)) > value(connected(), made(edge, features))
    uniform = value(connected(edges='uniform'), made(edge, features))
    assert uniform == value(connected(), made(torch.zeros_like(edge), features))
    torch.manual_seed(0)
    edge = torch.rand(2, 1, 64, 64)
    shuffled = edges_of(edge, 'shuffled')
    cells = [F.unfold(e, 16, stride=16).transpose(1, 2) for e in (edge, shuffled)]
    for a, b in zip(*cells):
        assert sorted(map(tuple, a.tolist())) == sorted(map(tuple, b.tolist())) and not torch.equal(a, b)


def test_edges_of_another_image_need_one():
    edge, features = two_sides()
    with pytest.raises(ValueError, match='raise train_cfg.max_batch_per_process to 2 or more'):
        value(connected(edges='other'), made(edge, features))


@pytest.mark.parametrize('options, message', [
    (dict(edges='none'), "one of own, other, shuffled, uniform .* got 'none' and 'bce'"),
    (dict(form='l2'), "got 'own' and 'l2'"),
    (dict(low=0.5, high=0.5), 'low < high'),
    (dict(radius=0), 'radius=0 must be 1 or more'),
    (dict(stages=(4, )), r'some of 0, 1, 2, 3, got \(4,\)'),
])
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        EdgeAffinityTerm(**options)


@pytest.mark.parametrize('name', ['egmim_swin-tiny', 'egmim_swin-nano_visible'])
def test_trains_in_both_precisions(build, normalized, name):
    options = {'backbone.arch.embed_dims': 16} if 'visible' in name else {}
    model = build(name, terms=[PIXEL, STRUCTURE, dict(type='egmim_mm.EdgeAffinityTerm', weight=0.5)],
                  **{'mask_generator.cell_size': 16, **options})
    inputs = normalized(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), model)
    full = model.loss(inputs)['affinity']
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(inputs)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert losses['affinity'].item() == pytest.approx(full.item(), rel=0.05)
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
