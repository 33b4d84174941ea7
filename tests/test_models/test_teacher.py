"""Teachers of dense features: which targets, when the average moves, what is saved."""
import copy
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from egmim_terms import PIXEL
from torch.nn import functional as F

from egmim_mm.edges import upsample_by_edges
from egmim_mm.models import EGMIM, MaskedBatch, TeacherTerm

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TEACHER = dict(type='egmim_mm.TeacherTerm')


@pytest.fixture
def taught(build):
    """Function: toy EGMIM with a teacher."""

    def make(seed=0, name='egmim_swin-tiny', terms=None, options=(), **teacher):
        return build(name, seed, terms=terms or [PIXEL, dict(TEACHER, **teacher)], **dict(options))

    return make


def spread(model, amount=0.1):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount * torch.randn_like(parameter))


@pytest.mark.parametrize('on', ['masked', 'visible', 'all'])
@pytest.mark.parametrize('loss, normalize', [('cosine', 'instance'), ('smooth_l1', 'layer')])
def test_loss_equals_its_definition(on, loss, normalize):
    torch.manual_seed(0)
    term = TeacherTerm('start', (2, ), on, loss, normalize, every=1)
    term.stages = (2, )
    term.project = torch.nn.ModuleDict({'2': torch.nn.Linear(8, 8)})
    whole, features = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    term.teacher = lambda images: (whole, )
    mask, valid = torch.rand(2, 16, 16) < 0.6, torch.ones(2, 1, 64, 64, dtype=torch.bool)
    valid[0, 0, :20, :20] = False
    batch = MaskedBatch(IMAGES, IMAGES, IMAGES[:, :1], mask, {2: features}, valid=valid)
    found = term.losses(term.predict(batch), batch)['teacher_start']
    expected = []
    for b in range(2):
        dims = (1, 2) if normalize == 'instance' else 0
        target = whole[b]
        deviation = (target.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()
        target = (target - target.mean(dims, keepdim=True)) / deviation
        total = count = 0
        for y in range(4):
            for x in range(4):
                predicted, wanted = term.project['2'](features[b, :, y, x]), target[:, y, x]
                hidden = mask[b, 4 * y:4 * y + 4, 4 * x:4 * x + 4].float().mean()
                share = dict(masked=hidden, visible=1 - hidden, all=1)[on]
                share = share * (not (b == 0 and y < 2 and x < 2))
                error = (1 - F.cosine_similarity(predicted, wanted, dim=0) if loss == 'cosine'
                         else F.smooth_l1_loss(predicted, wanted))
                total, count = total + share * error, count + share
        expected.append(total / count)
    assert found.item() == pytest.approx((sum(expected) / 2).item(), rel=1e-4)


def test_a_constant_knows_nothing_of_the_target(taught, normalized):
    model = taught(hidden_channels=8, on='all', loss='smooth_l1', every=1)
    batch = model.encode(normalized(IMAGES, model))
    target = model.terms['teacher_ema'].targets(batch)[3]
    assert torch.allclose(target.mean((2, 3)), torch.zeros(2, 64), atol=1e-5)
    assert torch.allclose(target.square().mean((2, 3)), torch.ones(2, 64), atol=1e-3)


def test_teacher_may_look_at_some_images_alone(taught, normalized):
    losses = {}
    for every in (1, 2):
        model = taught(every=every, on='all')
        images = torch.cat([IMAGES[:1], IMAGES[1:].roll(1, 2)] * 2) if every == 2 else IMAGES[:1]
        inputs = normalized(images, model)
        losses[every] = model.terms['teacher_ema'].losses(*predicted_from_whole_images(model, inputs))
    assert losses[1]['teacher_ema'].item() == pytest.approx(losses[2]['teacher_ema'].item(), rel=1e-5)


def predicted_from_whole_images(model, inputs):
    mask = torch.zeros(len(inputs), 16, 16, dtype=torch.bool)
    features = dict(zip(model.backbone.out_indices, model.backbone(inputs)))
    batch = MaskedBatch(inputs, inputs, inputs[:, :1], mask, features)
    return model.terms['teacher_ema'].predict(batch), batch


def test_average_moves_once_a_step_and_is_resumed(taught, normalized):
    model = taught(momentum=0.9)
    teacher = model.terms['teacher_ema'].teacher
    name = 'stages.0.blocks.0.ffn.layers.1.weight'
    start = teacher.state_dict()[name].clone()
    spread(model)
    student = model.backbone.state_dict()[name].clone()
    model.set_iteration(0, 10, 0)
    assert torch.equal(teacher.state_dict()[name], start)
    for _ in range(2):  # a repeated call, and the parts of a step, change nothing
        model.set_iteration(3, 10, 0)
        model.loss(normalized(IMAGES, model))
    momentum = 1 - 0.1 * (math.cos(0.3 * math.pi) + 1) / 2
    expected = momentum * start + (1 - momentum) * student
    torch.testing.assert_close(teacher.state_dict()[name], expected)

    other = taught(1, momentum=0.9)
    other.load_state_dict(model.state_dict())
    for one in (model, other):
        one.set_iteration(4, 10, 0)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


def test_start_never_moves_and_learns_nothing(taught, normalized):
    model = taught(teacher='start')
    term = model.terms['teacher_start']
    before = copy.deepcopy(term.teacher.state_dict())
    assert all(torch.equal(v, model.backbone.state_dict()[k]) for k, v in before.items())
    spread(model)
    model.set_iteration(5, 10, 0)
    model.train()
    assert not any(m.training for m in term.teacher.modules())
    assert all(torch.equal(v, before[k]) for k, v in term.teacher.state_dict().items())
    assert {n.split('.')[0] for n, _ in term.named_parameters()} == {'project'}


def test_settings_that_say_nothing():
    with pytest.raises(ValueError, match='its last map alone, leave source=2 out'):
        TeacherTerm(dict(type='timm', name='x', weights='y'), source=2)
    with pytest.raises(ValueError, match="edges='own' brings the map of one stage to finer ones: name it, source=2"):
        TeacherTerm('ema', edges='own')
    with pytest.raises(ValueError, match="edges must be one of None, own, other, shuffled, uniform, got 'edges'"):
        TeacherTerm('ema', source=2, edges='edges')


@pytest.mark.parametrize('edges', [None, 'own', 'other', 'uniform'])
def test_deep_map_brought_to_a_finer_stage_by_edges(taught, normalized, edges):
    model = taught(teacher='start', source=2, edges=edges, stages=(0, 1, 2), on='all', every=1)
    batch = model.encode(normalized(IMAGES, model))
    term = model.terms['teacher_start']
    whole, found = term.teacher(batch.inputs)[0], term.targets(batch)
    edge = {'own': batch.edge, 'other': batch.edge.flip(0), 'uniform': 0 * batch.edge}.get(edges)
    for i, target in found.items():
        expected = F.interpolate(whole, size=target.shape[-2:], mode='bilinear')
        if edges and i < 2:
            expected = upsample_by_edges(whole, edge, target.shape[-2:])
        expected = expected - expected.mean((2, 3), keepdim=True)
        torch.testing.assert_close(target, expected / (expected.square().mean((2, 3), keepdim=True) + 1e-5).sqrt(),
                                   rtol=1e-3, atol=1e-3)
    model.loss(normalized(IMAGES, model))['loss_teacher_start'].backward()
    assert all(project.weight.grad.any() for project in term.project.values())


def test_channels_normalised_over_the_batch(taught, normalized):
    model = taught(teacher='start', normalize='batch', on='all', every=1)
    target = model.terms['teacher_start'].targets(model.encode(normalized(IMAGES, model)))[2]
    assert torch.allclose(target.mean((0, 2, 3)), torch.zeros(target.shape[1]), atol=1e-5)
    assert target.mean((2, 3)).abs().max() > 0.1  # images differ


@pytest.mark.parametrize('name', ['egmim_swin-tiny', 'egmim_swinv2-tiny', 'egmim_swin-nano_visible'])
@pytest.mark.parametrize('teacher', ['ema', 'start'])
def test_trains_in_both_precisions(taught, normalized, name, teacher):
    visible = {'backbone.arch.embed_dims': 16, 'mask_generator.cell_size': 16} if 'visible' in name else {}
    model = taught(name=name, teacher=teacher, options=visible, on='all')
    inputs = normalized(IMAGES, model)
    full = model.loss(inputs)[f'teacher_{teacher}']
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(inputs)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert losses[f'teacher_{teacher}'].item() == pytest.approx(full.item(), rel=0.05)
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.fixture(scope='module')
def timm_weights(tmp_path_factory):
    """Files with random weights of two networks of timm, by name."""
    timm = pytest.importorskip('timm')
    files = {}
    for name in ('vit_tiny_patch16_224', 'convnext_atto', 'tf_efficientnet_lite0'):
        torch.manual_seed(0)
        files[name] = str(tmp_path_factory.mktemp('timm') / f'{name}.pth')
        torch.save(timm.create_model(name).state_dict(), files[name])
    return files


@pytest.mark.parametrize('name, scale, grid', [
    ('vit_tiny_patch16_224', 1.0, 4), ('vit_tiny_patch16_224', 2.0, 8), ('convnext_atto', 2.0, 4),
    ('tf_efficientnet_lite0', 2.0, 4)])
def test_network_of_timm(taught, normalized, timm_weights, name, scale, grid):
    import timm
    model = taught(teacher=dict(type='timm', name=name, weights=timm_weights[name], scale=scale), stages=(2, ))
    term = model.terms['teacher_timm']
    network = timm.create_model(name, checkpoint_path=timm_weights[name],
                                **dict(dynamic_img_size=True) if 'vit' in name else {}).eval()
    seen = F.interpolate(IMAGES, size=[round(64 * scale)] * 2, mode='bicubic', antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        expected = network.forward_intermediates((seen - mean) / std, norm=True, intermediates_only=True)[-1]
        found = term.teacher(IMAGES)
    assert found.shape[-2:] == (grid, grid)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    losses = model.loss(normalized(IMAGES, model))
    losses['loss_teacher_timm'].backward()
    assert 0 < losses['teacher_timm'] < 2 and term.project['2'].weight.grad.any()
    assert not any('network' in key for key in model.state_dict())  # the file has them


def test_errors_of_networks_of_timm(timm_weights, tmp_path, monkeypatch):
    weights, backbone = timm_weights['convnext_atto'], SimpleNamespace(
        num_features=[8, 16, 32, 64], patch_embed=SimpleNamespace(projection=SimpleNamespace(in_channels=3)))

    def connect(bands=3, **settings):
        backbone.patch_embed.projection.in_channels = bands
        TeacherTerm(dict(type='timm', **settings)).connect(backbone)

    with pytest.raises(FileNotFoundError, match='teacher.weights = none.pth: no such file'):
        connect(name='convnext_atto', weights='none.pth')
    with pytest.raises(ValueError, match="teacher.name = 'dino' is no model of timm"):
        connect(name='dino', weights=weights)
    with pytest.raises(ValueError, match='teacher.weights = .* are not of vit_tiny_patch16_224'):
        connect(name='vit_tiny_patch16_224', weights=weights)
    with pytest.raises(ValueError, match='here are 4 bands'):
        connect(4, name='convnext_atto', weights=weights)
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ImportError, match='needs timm: pip install timm'):
        connect(name='convnext_atto', weights=weights)


@pytest.mark.parametrize('options, message', [
    (dict(teacher='dino'), "teacher must be 'ema', 'start' or dict"),
    (dict(teacher=dict(type='hub')), "teacher must be 'ema', 'start' or dict"),
    (dict(on='hidden'), "on must be one of masked, visible, all, got 'hidden'"),
    (dict(momentum=1.0), 'momentum=1.0 must be in'),
    (dict(every=0), 'every=0 1 or more'),
    (dict(stages=()), 'stages must name some of'),
])
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        TeacherTerm(**options)


def test_checkpoint_without_a_teacher_is_refused(taught):
    with pytest.raises(ValueError, match='holds no teacher_ema: .*Resume without it'):
        taught().load_state_dict(taught(terms=[PIXEL]).state_dict())


def test_two_kinds_go_together(taught):
    model = taught(terms=[PIXEL, TEACHER, dict(TEACHER, teacher='start', stages=(2, ))])
    assert isinstance(model, EGMIM) and {'teacher_ema', 'teacher_start'} < set(model.terms)
