"""The anchor's teacher: a frozen copy of the weights a run starts from, which nothing mistakes for the student."""
import pytest
import torch
from egmim_terms import ANCHOR, EVERYTHING, PIXEL, STRUCTURE
from mmengine.optim import build_optim_wrapper
from mmengine.runner.checkpoint import load_state_dict

from egmim_mm.checkpoints import load_backbone
from egmim_mm.models import MaskedBatch, MaskedSwinTransformer

ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NOTHING_VISIBLE = torch.ones(2, 16, 16, dtype=torch.bool)


@pytest.fixture
def anchored(build):
    """Function: toy EGMIM with an anchor."""

    def make(seed=0, name='egmim_swin-base', **options):
        return build(name, seed, **dict(terms=[PIXEL, STRUCTURE, ANCHOR]) | options)

    return make


@pytest.mark.parametrize('name', ['egmim_swin-base', 'egmim_swinv2-tiny'])
def test_unchanged_student_on_a_whole_image_has_distance_zero(anchored, normalized, name):
    model = anchored(name=name)
    inputs = normalized(IMAGES, model)
    student = model.backbone(inputs)[2]
    teacher, = model.terms['anchor'].teacher(inputs)
    torch.testing.assert_close(student, teacher)  # the gradient takes another order of the products
    batch = MaskedBatch(inputs, IMAGES, IMAGES[:, :1], NOTHING_VISIBLE, {2: student})
    assert model.terms['anchor'].losses(None, batch)['anchor'].item() == pytest.approx(0, abs=1e-6)
    losses = model.loss(inputs)
    assert losses['anchor'] > 1e-4  # the mask makes a difference
    with torch.no_grad():
        model.backbone.stages[1].blocks[0].ffn.layers[1].weight.add_(0.1)
    assert torch.equal(model.terms['anchor'].teacher(inputs)[0], teacher)


def test_term_is_weighted_and_never_rescaled(anchored, normalized):
    losses = []
    for weight in (1.0, 2.5):
        model = anchored(terms=[PIXEL, STRUCTURE, dict(ANCHOR, weight=weight)])
        model.set_iteration(500, 1000, 0)
        losses.append(model.loss(normalized(IMAGES, model)))
        assert model.balance.scale.shape == (2, ) and model.balance.scale.all()
    assert losses[1]['loss_anchor'].item() == pytest.approx(2.5 * losses[0]['loss_anchor'].item())
    assert losses[1]['anchor'].item() == losses[0]['anchor'].item() == losses[0]['loss_anchor'].item()
    assert losses[0]['loss_anchor'].requires_grad and not losses[0]['anchor'].requires_grad


def test_only_the_student_learns(anchored, normalized):
    model = anchored()
    wrapper = build_optim_wrapper(model, dict(
        optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05), paramwise_cfg=dict(norm_decay_mult=0.0)))
    teacher = {k: v.clone() for k, v in model.terms['anchor'].state_dict().items()}
    assert teacher and not list(model.terms['anchor'].parameters())
    optimized = {id(p) for group in wrapper.optimizer.param_groups for p in group['params']}
    assert optimized == {id(p) for p in model.parameters()}
    student = {k: v.clone() for k, v in model.backbone.named_parameters()}
    inputs = normalized(IMAGES, model)
    model.loss(inputs)['loss_anchor'].backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {f'backbone.{n}' for n in student if n.split('.')[0] not in ('norm0', 'norm1', 'norm3')
                       and not n.startswith(('stages.3', 'stages.2.downsample'))}
    assert not any(b.requires_grad or b.grad is not None for b in model.terms['anchor'].buffers())
    wrapper.step()
    assert all(torch.equal(v, teacher[k]) for k, v in model.terms['anchor'].state_dict().items())
    assert not torch.equal(model.backbone.get_parameter('norm2.bias'), student['norm2.bias'])


def test_teacher_is_lean_and_stays_in_eval_mode(anchored):
    model = anchored(backbone=dict(drop_path_rate=0.5))
    model.train()
    assert model.backbone.training and not any(m.training for m in model.terms['anchor'].modules())
    names = set(model.terms['anchor'].state_dict())
    assert names and all(n.startswith(('teacher.patch_embed', 'teacher.stages.0', 'teacher.stages.1',
                                       'teacher.stages.2.blocks', 'teacher.norm2')) for n in names)
    assert model.backbone.mask_token is not None and len(model.backbone.stages) == 4  # the student is whole


def test_every_parameter_gets_a_gradient(anchored, normalized):
    model = anchored(terms=EVERYTHING)
    torch.nn.init.normal_(model.terms['structure'].head.predict[1].weight, std=0.1)  # it starts at zero
    sum(v for k, v in model.loss(normalized(IMAGES, model)).items() if 'loss' in k).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_teacher_starts_from_the_checkpoint_of_the_backbone(anchored, tmp_path):
    source = anchored(seed=7)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'gppt.pth')
    model = anchored(backbone=dict(
        init_cfg=dict(type='egmim_mm.BridgedCheckpoint', source=str(tmp_path / 'gppt.pth'))))
    weights = source.backbone.state_dict()
    teacher = model.terms['anchor'].teacher.state_dict()
    assert teacher and all(torch.equal(v, weights[k]) for k, v in teacher.items())


@pytest.mark.parametrize('load', [lambda m, s: m.load_state_dict(s), lambda m, s: load_state_dict(m, s)],
                         ids=['torch', 'mmengine'])
@pytest.mark.parametrize('name', ['egmim_swin-base', 'egmim_swinv2-tiny'])
def test_resumed_model_has_the_same_teacher(anchored, normalized, load, name):
    model, other = anchored(name=name), anchored(1, name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # trained a while
    load(other, model.state_dict())
    inputs = normalized(IMAGES, model)
    a, b = model.loss(inputs), other.loss(inputs)
    assert {k: v.item() for k, v in a.items()} == {k: v.item() for k, v in b.items()}


def test_next_phase_gets_the_student(anchored, tmp_path):
    model = anchored()
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(1)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'last.pth')
    target = MaskedSwinTransformer(ARCH, img_size=64, window_size=4)
    report = load_backbone(target, str(tmp_path))
    assert report.missing == report.unused == [] and report.share == 1
    assert all(torch.equal(p, model.backbone.get_parameter(n)) for n, p in target.named_parameters())


def test_checkpoint_without_an_anchor_is_refused(anchored, build):
    model, plain = anchored(), build()
    for load in (model.load_state_dict, lambda s: load_state_dict(model, s)):
        with pytest.raises(ValueError, match='holds no anchor: .*Resume without it, or start a new run from it'):
            load(plain.state_dict())


@pytest.mark.parametrize('options, error, message', [
    (dict(backbone=dict(out_indices=(0, 1, 3))), ValueError,
     r'is \(0, 1, 3\), but the terms read the stages \(0, 1, 2, 3\)'),
    (dict(terms=[PIXEL, dict(ANCHOR, weight=0)]), ValueError, 'weight must be above 0, got 0'),
    (dict(terms=[PIXEL, dict(ANCHOR, teacher='gppt.pth')]), TypeError, 'teacher'),
])
def test_errors(anchored, options, error, message):
    with pytest.raises(error, match=message):
        anchored(**options)


def test_mixed_precision(anchored, normalized):
    model = anchored()
    inputs = normalized(IMAGES, model)
    full = model.loss(inputs)['loss_anchor']
    with torch.autocast('cpu', torch.bfloat16):
        half = model.loss(inputs)['loss_anchor']
    half.backward()
    assert half.dtype == torch.float32 and half.item() == pytest.approx(full.item(), rel=0.1)
