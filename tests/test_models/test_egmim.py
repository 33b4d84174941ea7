"""EGMIM: its losses, its masks and pictures, and that every parameter learns."""
import pytest
import torch
from egmim_terms import ANCHOR, EVERYTHING, GRADIENT, PIXEL, STRUCTURE
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmpretrain.structures import DataSample

from egmim_mm.models import MaskedBatch

ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
IMAGES = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
WITH_NODATA = dict(terms=EVERYTHING, nodata=dict(value=0))


def total(losses):
    return sum(v for k, v in losses.items() if 'loss' in k)


def random_weights(model, seed=3):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    return model


def test_without_guidance_it_is_simmim(build, normalized):
    ours = random_weights(build('simmim_swin-base'))
    init_default_scope('mmpretrain')
    stock = MMPRETRAIN.build(dict(
        type='SimMIM',
        backbone=dict(type='SimMIMSwinTransformer', arch=ARCH, img_size=64,
                      stage_cfgs=dict(block_cfgs=dict(window_size=4)), pad_small_map=True, drop_path_rate=0.0),
        neck=dict(type='SimMIMLinearDecoder', in_channels=64, encoder_stride=32),
        head=dict(type='SimMIMHead', patch_size=4,
                  loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3))))
    stock.backbone.load_state_dict(ours.backbone.state_dict())
    stock.neck.load_state_dict(ours.terms['pixel'].head.state_dict())
    stock.train()
    inputs = normalized(IMAGES, ours)
    losses = ours.loss(inputs)
    assert list(losses) == ['loss_pixel']
    samples = []
    for mask in ours.draw_mask(ours.edge_prior(ours.images(inputs))):
        samples.append(DataSample())
        samples[-1].set_field(mask.long(), 'mask')
    expected = stock.loss(inputs, samples)['loss']
    assert losses['loss_pixel'].item() == pytest.approx(expected.item(), rel=1e-5)
    losses['loss_pixel'].backward()
    expected.backward()
    for name, parameter in stock.backbone.named_parameters():
        assert torch.allclose(ours.backbone.get_parameter(name).grad, parameter.grad, atol=1e-5), name


def test_images_undo_the_data_preprocessor(build):
    model = build()
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)  # BGR, as the loader reads them
    inputs = model.data_preprocessor(dict(inputs=[pixels], data_samples=[DataSample()] * 2))['inputs']
    inputs = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
    assert torch.allclose(model.images(inputs), pixels.flip(1) / 255, atol=1e-6)


def test_losses_are_those_of_the_parts(build, normalized):
    model = random_weights(build())
    model.set_iteration(37, 1000, 5)
    inputs = normalized(IMAGES, model)
    losses = model.loss(inputs)
    edge = model.edge_prior(IMAGES)
    mask = model.draw_mask(edge)
    stage1, stage2, stage4 = model.backbone(inputs, mask)
    pixels = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    weight = pixels * (1 + edge)
    error = (model.terms['pixel'].head(stage4) - inputs).abs()
    expected = ((error * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)))).mean()
    assert losses['loss_pixel'].item() == pytest.approx(expected.item(), rel=1e-4)
    batch = MaskedBatch(inputs, IMAGES, edge, mask, {0: stage1, 1: stage2})
    structure = model.terms['structure']
    terms = structure.losses(structure.predict(batch), batch)
    assert list(terms) == ['edge', 'hog']
    for name, term in terms.items():
        assert losses[name].item() == pytest.approx(term.item(), rel=1e-4)
        assert losses[f'loss_{name}'].item() == pytest.approx(0.5 * term.item(), rel=1e-4)  # not rescaled yet
        assert losses[f'loss_{name}'].requires_grad and not losses[name].requires_grad


@pytest.mark.parametrize('options', [{}, WITH_NODATA], ids=['default', 'everything'])
def test_batch_loss_is_the_mean_of_its_halves(build, normalized, monkeypatch, options):
    # what makes two processes equal one: each takes every second sample, with that sample's mask
    model = random_weights(build(**options))
    images = IMAGES.clone()
    images[1, :, :, :30] = images[2] = 0
    inputs = normalized(images, model)
    whole = model.loss(inputs)
    assert len(whole) == (9 if options else 5)
    halves = []
    for rank in (0, 1):
        monkeypatch.setattr('egmim_mm.models.edge_guided_masking.dist.get_rank', lambda rank=rank: rank)
        monkeypatch.setattr('egmim_mm.models.edge_guided_masking.dist.get_world_size', lambda: 2)
        halves.append(model.loss(inputs[rank::2]))
    for name, value in whole.items():
        assert value.item() == pytest.approx((halves[0][name] + halves[1][name]).item() / 2, rel=1e-4), name


@pytest.mark.parametrize('name', ['egmim_swin-base', 'simmim_swin-base'])
@pytest.mark.parametrize('value', [0.0, 1.0])
def test_flat_batch_gives_finite_losses_and_gradients(build, normalized, name, value):
    model = build(name)
    model.set_iteration(500, 1000, 0)  # the scales are set on this very batch
    losses = model.loss(normalized(torch.full((2, 3, 64, 64), value), model))
    total(losses).backward()
    assert all(torch.isfinite(v).all() for v in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.isfinite(model.balance.scale).all()


def test_mixed_precision(build, normalized):
    model = build()
    inputs = normalized(IMAGES, model)
    full = model.loss(inputs)
    with torch.autocast('cpu', torch.bfloat16):
        half = model.loss(inputs)
    total(half).backward()
    for name, value in full.items():
        assert half[name].dtype == torch.float32
        assert half[name].item() == pytest.approx(value.item(), rel=0.02), name


def test_gradient_term_is_that_of_the_composite_image(build, normalized):
    model = random_weights(build(terms=[PIXEL, STRUCTURE, GRADIENT]))
    model.set_iteration(37, 1000, 5)
    inputs = normalized(IMAGES, model)
    losses, plain = model.loss(inputs), random_weights(build())
    plain.set_iteration(37, 1000, 5)
    for name, value in plain.loss(inputs).items():
        assert torch.equal(losses[name], value), name  # the other terms are as without it
    mask = model.draw_mask(model.edge_prior(IMAGES))
    hidden = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    composite = torch.where(hidden, model.terms['pixel'].head(model.backbone(inputs, mask)[-1]), inputs)
    values = []
    for c, x, m in zip(composite, inputs, hidden[:, 0]):
        down, across = m[1:] | m[:-1], m[:, 1:] | m[:, :-1]
        errors = ((c.diff(dim=1) - x.diff(dim=1)).abs()[:, down], (c.diff(dim=2) - x.diff(dim=2)).abs()[:, across])
        values.append(torch.cat([e.flatten() for e in errors]).mean().item())
    assert losses['grad'].item() == pytest.approx(sum(values) / 4, rel=1e-4)
    assert losses['loss_grad'].item() == pytest.approx(0.25 * losses['grad'].item(), rel=1e-6)  # not rescaled yet
    assert losses['loss_grad'].requires_grad and not losses['grad'].requires_grad


def test_mask_follows_iteration_and_seed_alone(build):
    model = build()
    edge = model.edge_prior(IMAGES)

    def mask(iteration, seed):
        model.set_iteration(iteration, 1000, seed)
        torch.manual_seed(iteration + seed)  # the global generator has no say
        return model.draw_mask(edge)

    first = mask(7, 0)
    assert (mask(8, 0) != first).any() and (mask(7, 1) != first).any()
    assert torch.equal(mask(7, 0), first)


def test_mask_of_a_seed_is_fixed(build, monkeypatch):
    model = build()
    edge = model.edge_prior(IMAGES)
    first = model.draw_mask(edge, seed=7)
    assert (model.draw_mask(edge, seed=8) != first).any()
    model.set_iteration(400, 1000, 3)
    monkeypatch.setattr('egmim_mm.models.edge_guided_masking.dist.get_rank', lambda: 1)
    monkeypatch.setattr('egmim_mm.models.edge_guided_masking.dist.get_world_size', lambda: 2)
    assert torch.equal(model.draw_mask(edge, seed=7), first)
    model.iteration = None
    assert torch.equal(model.draw_mask(edge, seed=7), first)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(model.mask_generator(edge, 1.0, generator), first)  # as at the end of training


def test_curriculum_position_is_handed_to_the_mask(build):
    model = build()
    seen = []
    model.mask_generator.register_forward_hook(lambda module, args, out: seen.append(args[1]))
    for iteration in (0, 250, 999):
        model.set_iteration(iteration, 1000, 0)
        model.draw_mask(model.edge_prior(IMAGES))
    assert seen == [0, 0.25, 0.999]


def test_loss_without_a_position_in_training_says_what_is_missing(build, normalized):
    model = build()
    model.iteration = None
    with pytest.raises(RuntimeError, match='MaskCurriculumHook'):
        model.loss(normalized(IMAGES, model))


@pytest.mark.parametrize('name, options', [
    ('egmim_swin-tiny', {}), ('egmim_swin-nano', {}), ('simmim_swin-tiny', {}), ('simmim_swin-nano', {}),
    ('egmim_swin-base', WITH_NODATA), ('simmim_swin-base', dict(terms=[PIXEL, GRADIENT])),
    ('egmim_swin-base', dict(terms=[PIXEL, ANCHOR])), ('egmim_swin-base', dict(terms=[PIXEL, GRADIENT, ANCHOR])),
    ('egmim_swin-base', dict(terms=[PIXEL, dict(STRUCTURE, hog_bins=0)])),
])
def test_every_parameter_gets_a_gradient(build, normalized, name, options):
    model = build(name, **options)
    if 'structure' in model.terms:  # its last convolution starts at zero
        torch.nn.init.normal_(model.terms['structure'].head.predict[1].weight, std=0.1)
    total(model.loss(normalized(IMAGES, model))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_few_steps_learn_one_batch(build, normalized):
    model = build()
    inputs = normalized(IMAGES[:2], model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    first = None
    for _ in range(20):
        losses = model.loss(inputs)
        first = first or {k: v.item() for k, v in losses.items()}
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
    assert all(losses[k].item() < 0.9 * first[k] for k in ('loss_pixel', 'edge', 'hog'))


def test_size_that_the_head_cannot_predict_is_refused(build, normalized):
    model = build()
    model.set_iteration(0, 10, seed=0)
    with pytest.raises(ValueError, match='image size 64 x 80 px must be divisible by 32 px'):
        model.loss(normalized(torch.rand(1, 3, 64, 80), model))


def test_reconstruction_keeps_visible_pixels(build, normalized):
    model = random_weights(build()).eval()
    result = model.reconstruct(normalized(IMAGES, model))
    hidden = result['mask'].bool().expand_as(IMAGES)
    assert result['mask'].flatten(1).mean(1).tolist() == [0.5] * 4  # 2 of 4 cells
    assert torch.allclose(result['image'], IMAGES, atol=1e-6)
    assert torch.equal(result['reconstruction'][~hidden], result['image'][~hidden])
    assert (result['reconstruction'][hidden] - result['image'][hidden]).abs().mean() > 0.1
    assert torch.equal(result['masked'][~hidden], result['image'][~hidden])
    assert (result['masked'][hidden] == 0.5).all()
    assert all(v.min() >= 0 and v.max() <= 1 and not v.requires_grad for v in result.values())
    assert torch.equal(result['edge'], model.edge_prior(result['image']))


def test_pictures_do_not_depend_on_mode_or_precision(build, normalized):
    model = random_weights(build(backbone=dict(drop_path_rate=0.5)))
    model.iteration = None
    inputs = normalized(IMAGES, model)
    model.train()
    model.terms['pixel'].eval()
    modes = [module.training for module in model.modules()]
    first = model.reconstruct(inputs, seed=1)
    assert [module.training for module in model.modules()] == modes
    with torch.autocast('cpu', torch.bfloat16):
        second = model.reconstruct(inputs, seed=1)
    model.eval()
    third = model.reconstruct(inputs, seed=1)
    assert first.keys() == {'image', 'edge', 'mask', 'masked', 'reconstruction'}
    for name, value in first.items():
        assert torch.equal(value, second[name]) and torch.equal(value, third[name]), name
        assert value.dtype == torch.float32


def test_mode_is_restored_after_an_error(build, normalized):
    model = build()
    model.iteration = None
    with pytest.raises(RuntimeError, match='MaskCurriculumHook'):
        model.reconstruct(normalized(IMAGES, model))
    assert model.training and model.backbone.stages[0].training


def test_features_are_those_of_the_backbone(build, normalized):
    model = build()
    inputs = normalized(IMAGES, model)
    assert all(torch.equal(a, b) for a, b in zip(model.extract_feat(inputs), model.backbone(inputs), strict=True))
