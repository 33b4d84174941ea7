"""The stock SimMIM step is built as it should be: the same backbone, the same weights, the same work."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from egmim_mm.benchmark.pretrain import STOCK, compare_steps, profile_steps
from egmim_mm.benchmark.pretrain_step import build_steps, scenes

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
CPU = torch.device('cpu')
GUIDED, PLAIN = 'EGMIM', 'EGMIM without guidance'


def toy(name='egmim_swin-pico', **backbone):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.model.backbone.update(
        arch=dict(embed_dims=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4]), img_size=64, **backbone)
    for term in cfg.model.terms:
        if term.type == 'egmim_mm.StructureTerm':
            term.channels = 8
    return cfg


@pytest.fixture(scope='module')
def steps():
    return build_steps(toy(), 3, None, False, CPU)


def test_all_have_the_same_backbone(steps):
    ours, plain, stock = (dict(steps[name].model.backbone.named_parameters()) for name in (GUIDED, PLAIN, STOCK))
    assert {k: v.shape for k, v in plain.items()} == {k: v.shape for k, v in stock.items()}
    shallow = {f'norm{i}.{part}' for i in (0, 1) for part in ('weight', 'bias')}  # read by the structure head
    assert set(ours) - set(stock) == shallow and set(stock) < set(ours)
    assert all(torch.equal(ours[k], v) and torch.equal(plain[k], v) for k, v in stock.items())
    counts = [steps[name].parameters('backbone.') for name in (GUIDED, PLAIN, STOCK)]
    assert counts == [counts[2] + 2 * (8 + 16), counts[2], counts[2]]
    assert steps[STOCK].parameters() == counts[2] + 64 * 3072 + 3072
    assert steps[PLAIN].parameters() == steps[STOCK].parameters() < steps[GUIDED].parameters()


@pytest.mark.parametrize('name, size', [('egmim_swin-tiny', 64), ('egmim_swin-pico', 96)])
def test_stock_computes_what_egmim_without_guidance_computes(monkeypatch, name, size):
    # windows larger than the last map (tiny: 7 tokens) are padded in both
    steps = build_steps(toy(name, drop_path_rate=0.0), 2, size, False, CPU)
    plain, stock = steps[PLAIN], steps[STOCK]
    plain.model.set_iteration(0, 10, 0)
    masks = torch.stack([sample.mask for sample in stock.batch['data_samples']])
    assert masks.float().mean((1, 2)).tolist() == pytest.approx([2 / 4 if size == 64 else 5 / 9] * 2)
    monkeypatch.setattr(plain.model, 'draw_mask', lambda *args, **kwargs: masks.bool())
    data = [step.model.data_preprocessor(step.batch, True) for step in (plain, stock)]
    assert torch.equal(data[0]['inputs'], data[1]['inputs'])
    ours = plain.model(**data[0], mode='loss')['loss_pixel']
    theirs = stock.model(**data[1], mode='loss')['loss']
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_drop_path_of_the_config_is_that_of_both():
    steps = build_steps(toy(drop_path_rate=0.3), 1, None, False, CPU)
    rates = [[m.drop_prob for m in steps[name].model.modules() if type(m).__name__ == 'DropPath']
             for name in (GUIDED, STOCK)]
    assert rates[0] == rates[1] and max(rates[0]) == pytest.approx(0.3)


def test_a_step_trains_and_draws_new_masks(steps):
    for name, step in steps.items():
        before = {k: v.clone() for k, v in step.model.named_parameters()}
        seen = []
        if name != STOCK:
            handle = step.model.mask_generator.register_forward_hook(lambda module, args, out: seen.append(out))  # noqa: B023
        step()
        step()
        assert [k for k, v in step.model.named_parameters() if torch.equal(before[k], v)] == [], name
        assert all(p.grad is None for p in step.model.parameters())
        if name != STOCK:
            handle.remove()
            assert len(seen) == 2 and (seen[0] != seen[1]).any()
    assert steps[GUIDED].model.balance.scale.all()  # past the step at which the terms are scaled


def test_parts_make_up_the_step_and_leave_no_trace(steps):
    ticks = iter(range(10**6))
    profile = profile_steps(steps, 3, lambda: next(ticks))
    shared = {'other', 'normalisation', 'backbone, forward', 'pixel term', 'backward', 'clipping and AdamW'}
    assert set(profile[STOCK]) == shared
    assert set(profile[PLAIN]) == shared | {'edge prior', 'mask'}
    assert set(profile[GUIDED]) == set(profile[PLAIN]) | {'structure term', 'HOG target'}
    assert all(value > 0 for times in profile.values() for value in times.values())
    for step in steps.values():
        for module in (step.model, step.model.backbone, step.model.data_preprocessor, step.optimizer):
            assert not {'forward', 'loss', 'images', 'draw_mask', 'train_step', 'step'} & set(vars(module))


def test_profile_adds_up(steps):
    now = [0.0]

    def clock():  # every look at the clock takes a second: the sum is known whatever is timed
        now[0] += 1
        return now[0]

    name = STOCK
    profile = profile_steps({name: steps[name]}, 2, clock)
    # a step opens and closes eight parts (zero_grad and step are one name), each change reads the clock once
    parts = dict(train_step=1, preprocessor=1, backbone=1, neck=1, head=1, backward=1, step=1, zero_grad=1)
    assert sum(profile[name].values()) == 2 * sum(parts.values()) - 1


def test_scenes_are_bytes_in_bgr_with_content():
    images = scenes(10, 64)
    assert images.shape == (10, 3, 64, 64) and images.dtype == torch.uint8 and images.is_contiguous()
    assert torch.equal(images[8], images[0]) and (images[0] != images[1]).any()
    assert (images.float().std((1, 2, 3)) > 5).all()
    green = images[:, 1].float().mean() - images[:, 0].float().mean()
    assert green > 0  # vegetation: more green than blue


@pytest.mark.parametrize('change, options, message', [
    (dict(model=None), {}, 'model.type is None, not egmim_mm.EGMIM'),
    (dict(model=dict(type='EncoderDecoder')), {}, "model.type is 'EncoderDecoder', not egmim_mm.EGMIM"),
    ({'model.backbone.in_channels': 4}, {}, 'in_channels is 4'),
    ({}, dict(rounds=1), '--steps 1'),
    ({}, dict(batch=-1), '--batch -1'),
    ({}, dict(size=80), '80 x 80 px must be divisible by'),
])
def test_wrong_input_is_named(change, options, message):
    cfg = toy()
    if 'model' in change:
        cfg = Config(change)
    else:
        cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=message):
        compare_steps(cfg, device='cpu', **options)
