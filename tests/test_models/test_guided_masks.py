"""Masks and edges that a teacher guides: predicted hardness, and edges of its features."""
import pytest
import torch
from egmim_terms import PIXEL, STRUCTURE
from torch.nn import functional as F

from egmim_mm.edges import edge_prior, feature_response, normalize_strength
from egmim_mm.models import HardnessTerm, MaskedBatch

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TEACHER = dict(type='egmim_mm.TeacherTerm', stages=(2, ), loss='none')
HARDNESS = dict(type='egmim_mm.HardnessTerm')
FEATURES = {'edge_prior.operator': 'features'}


@pytest.fixture
def guided(build):
    """Function: toy EGMIM whose masks a teacher guides."""

    def make(seed=0, teacher=None, terms=(HARDNESS, ), name='egmim_swin-nano', **options):
        model = build(name, seed, terms=[PIXEL, dict(TEACHER, **teacher or {}), *terms], **options)
        if 'hardness' in model.terms:  # as after some training
            torch.nn.init.normal_(model.terms['hardness'].log_error.weight)
        return model

    return make


def test_hardness_loss_equals_its_definition():
    torch.manual_seed(0)
    term = HardnessTerm(stage=2)
    mask, predicted = torch.rand(2, 16, 16) < 0.5, torch.rand_like(IMAGES)
    mask[1] = False  # nothing hidden
    batch = MaskedBatch(IMAGES, IMAGES, IMAGES[:, :1], mask, {}, predictions=dict(pixel=predicted))
    log_error = torch.randn(2, 1, 4, 4)
    apart, weights = [], []
    for y in range(4):
        for x in range(4):
            window = (..., slice(16 * y, 16 * y + 16), slice(16 * x, 16 * x + 16))
            hidden = batch.hidden[0][window][0].bool()
            error = (predicted[0] - IMAGES[0]).abs()[window][:, hidden].mean()
            apart.append(log_error[0, 0, y, x] - error.log())
            weights.append(hidden.float().mean())
    apart, weights = torch.stack(apart), torch.stack(weights) / sum(weights)
    expected = (weights * (apart - (weights * apart).sum()).square()).sum() / 2
    assert term.losses(log_error, batch)['hardness'].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize('edges', [True, False])
def test_mask_follows_hardness_times_edges(guided, normalized, edges):
    model = guided(terms=[dict(HARDNESS, edges=edges)], **{'mask_generator.policy': 'edge_topk'})
    inputs = normalized(IMAGES, model)
    batch, term = model.encode(inputs), model.terms['hardness']
    whole = model.terms['teacher_ema'].teacher.every_stage(inputs)[2]
    x = F.layer_norm(whole.permute(0, 2, 3, 1), whole.shape[1:2])
    hardness = (x @ term.log_error.weight.flatten()).exp()
    score = hardness * (F.avg_pool2d(batch.edge, 16)[:, 0] if edges else 1)
    hidden = F.avg_pool2d(batch.mask.float(), 4).bool()
    for b in range(2):
        assert score[b][hidden[b]].min() > score[b][~hidden[b]].max()


def test_head_at_its_start_leaves_the_masks_as_they_are(build, normalized):
    plain = build('egmim_swin-nano')
    inputs = normalized(IMAGES, plain)
    terms = [PIXEL, STRUCTURE, TEACHER, HARDNESS]
    assert torch.equal(build('egmim_swin-nano', terms=terms).encode(inputs).mask, plain.encode(inputs).mask)


def test_head_alone_learns_hardness(guided, normalized):
    model = guided()
    inputs = normalized(IMAGES, model)
    losses = model.loss(inputs)
    losses['loss_hardness'].backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {'terms.hardness.log_error.weight', 'terms.hardness.log_error.bias'}
    assert 'loss_teacher_ema' not in losses


def test_masks_are_resumed_and_do_not_depend_on_the_parts_of_a_step(guided, normalized):
    model, other = guided(0), guided(1)
    inputs = normalized(torch.cat([IMAGES, IMAGES.roll(7, 3)]), model)
    other.load_state_dict(model.state_dict())
    masks = []
    for one in (model, other):
        one.set_iteration(4, 10, 0)
        masks.append(one.encode(inputs).mask)
    parts = []
    for number in range(2):
        model.set_part(number, 2)
        parts.append(model.encode(inputs[2 * number:2 * number + 2]).mask)
    assert torch.equal(*masks) and torch.equal(torch.cat(parts), masks[0])


def test_one_forward_pass_serves_mask_and_loss(guided, normalized):
    model = guided(teacher=dict(loss='cosine', every=1, stages=(2, 3)))
    inputs, teacher, calls = normalized(IMAGES, model), model.terms['teacher_ema'].teacher, []
    teacher.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    losses = model.loss(inputs)
    assert len(calls) == 1 and losses['loss_teacher_ema'].requires_grad
    batch = model.encode(inputs)
    guided_targets = model.terms['teacher_ema'].targets(batch)
    model.terms['teacher_ema'].guides = False
    own_targets = model.terms['teacher_ema'].targets(batch)
    assert all(torch.equal(guided_targets[i], own_targets[i]) for i in (2, 3))


@pytest.mark.parametrize('holes', [False, True])
def test_edges_of_features_are_normalised_like_others(guided, normalized, holes):
    model = guided(terms=(), teacher=dict(stages=(1, )), **FEATURES, **{'edge_prior.stage': 1})
    model.edge_prior.set_floor(0.7)
    inputs, valid = normalized(IMAGES, model), None
    if holes:
        valid = torch.ones(2, 1, 64, 64, dtype=torch.bool)
        valid[0, 0, :9, :9] = False
    whole = model.terms['teacher_ema'].teacher.every_stage(inputs)[1]
    response = feature_response(whole, (64, 64), valid)
    counted = None if valid is None else model.edge_prior.known(valid)
    edge, seen, _ = model.guidance(inputs, model.images(inputs), valid)
    torch.testing.assert_close(edge, normalize_strength(response, model.edge_prior.floor, valid=counted))
    assert seen is edge and not torch.allclose(edge, edge_prior(IMAGES), atol=0.2)
    if holes:
        assert edge[0, 0, :24, :24].max() == 0 and edge[0].max() > 0  # token and neighbours, 8 px each
    top = model.edge_prior.tops(IMAGES, valid, model.look(inputs, IMAGES))
    torch.testing.assert_close(torch.minimum(edge * model.edge_prior.floor, top.view(-1, 1, 1, 1)).amax((1, 2, 3)),
                               torch.minimum(top, torch.tensor(model.edge_prior.floor)))


@pytest.mark.parametrize('name', ['egmim_swin-tiny', 'egmim_swinv2-tiny', 'egmim_swin-nano_visible'])
def test_all_together_train_in_both_precisions(guided, normalized, name):
    visible = {'backbone.arch.embed_dims': 16, 'mask_generator.cell_size': 16} if 'visible' in name else {}
    model = guided(name=name, **FEATURES, **visible)
    inputs = normalized(IMAGES, model)
    full = model.loss(inputs)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(inputs)
    sum(v for k, v in losses.items() if k.startswith('loss')).backward()
    assert losses['hardness'].item() == pytest.approx(full['hardness'].item(), rel=0.2)
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize('terms, options, message', [
    ([PIXEL, HARDNESS], {}, 'HardnessTerm needs a teacher: add dict'),
    ([PIXEL], FEATURES, "operator='features' needs a teacher"),
    ([PIXEL, TEACHER], {}, "TeacherTerm teacher_ema with loss='none' guides nothing"),
    ([PIXEL, TEACHER, dict(HARDNESS, stage=3)], {}, 'HardnessTerm reads stage 3 of the teacher, which has stages up'),
    ([HARDNESS, PIXEL, TEACHER], {}, "HardnessTerm reads the prediction of the term 'pixel'"),
    ([PIXEL, TEACHER, dict(HARDNESS, stage=4)], {}, 'HardnessTerm: stage must be 0, 1, 2 or 3, got 4'),
    ([PIXEL, TEACHER], {**FEATURES, 'edge_prior.sigma': 2.0}, "operator 'features' has one option, stage"),
    ([PIXEL, TEACHER], {**FEATURES, 'edge_prior.stage': 5}, "operator 'features' has one option, stage"),
])
def test_errors(build, terms, options, message):
    with pytest.raises(ValueError, match=message):
        build('egmim_swin-nano', terms=terms, **options)


def test_features_without_a_teacher_are_named(guided):
    model = guided(**FEATURES)
    with pytest.raises(ValueError, match="'features' needs the features of a teacher"):
        model.edge_prior(IMAGES)
