"""Terms balanced by what they explain of what a constant leaves: against NumPy, over parts, processes and a resume."""
import copy

import numpy as np
import pytest
import torch
from egmim_terms import GRADIENT, PIXEL, STRUCTURE

from egmim_mm.edges import hog
from egmim_mm.models import SkillBalance
from egmim_mm.models.whole_step import whole_step

IMAGES = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NAMES = ('pixel', 'edge', 'hog')
SKILL = dict(type='egmim_mm.SkillBalance')


def balance_of(build, **settings):
    return build(balance={**SKILL, **settings}).balance.train()


def measured(balance, losses, constants):
    balance.measure({name: torch.tensor(value) for name, value in zip(NAMES, losses)},
                    {name: torch.tensor(value) for name, value in zip(NAMES, constants) if value})
    balance.begin_step()
    return balance.scale.tolist()


@pytest.mark.parametrize('losses, constants, shares', [
    ((0.4, 0.1, 0.043), (0.8, 0.2, 0.0448), (1, 0.1)),  # as well explained as pixels; hardly at all
    ((0.6, 0.16, 0.02), (0.8, 0.2, 0.05), (0.8, 1)),  # skills .25, .2, .6: never more than by size
    ((0.6, 0.3, 0.0425), (0.8, 0.2, 0.05), (0.1, 0.6)),  # worse than a constant; .15
    ((0.6, 0.3, 0.05), (0.8, 0, 0), (1, 1)),  # no constants: by size
])
def test_scale_is_that_by_size_times_the_share_explained(build, losses, constants, shares):
    sizes = [losses[0] / loss for loss in losses[1:]]
    got = measured(balance_of(build), losses, constants)
    assert got == pytest.approx([size * share for size, share in zip(sizes, shares)], rel=1e-4)


def test_nothing_is_amplified_while_pixels_are_no_better_than_a_constant(build):
    assert measured(balance_of(build), (0.9, 0.1, 3.0), (0.8, 0.2, 0.0448)) == pytest.approx([1, 0.03], rel=1e-4)


def test_measurements_are_averaged_and_empty_ones_do_not_count(build):
    balance, rng = balance_of(build, least=0.0), np.random.default_rng(0)
    level = np.zeros((2, 3))
    for number in range(1, 25):
        losses, constants = rng.uniform(0.1, 0.2, 3), rng.uniform(0.3, 0.4, 3)
        got = measured(balance, losses, constants)
        level += max(1 / number, 0.1) * (np.stack([losses, constants]) - level)
        skill = 1 - level[0] / level[1]
        wanted = level[0, 0] / level[0, 1:] * np.clip(skill[1:] / skill[0], 0, 1)
        np.testing.assert_allclose(got, wanted, rtol=1e-4)
    assert measured(balance, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)) == got
    assert measured(balance_of(build, least=0.0), (0.5, 0.3, 0.1), (1.0, 0.2, 0.2))[0] == pytest.approx(1e-6)


def test_constants_are_those_of_each_image(build, normalized):
    model = build(terms=[PIXEL, STRUCTURE, GRADIENT])
    batch = model.encode(normalized(IMAGES, model))
    got = {name: value.item() for term in model.terms.values() for name, value in term.constant_losses(batch).items()}
    assert set(got) == set(NAMES)  # the gradient of a constant picture is no zero
    hidden, wanted = batch.mask.numpy(), dict(pixel=[], edge=[], hog=[])
    edge, inputs, cells = batch.edge[:, 0].numpy(), batch.inputs.numpy(), hog(batch.images).numpy()

    def smooth_l1(error):
        return np.where(error < 0.1, 5 * error**2, error - 0.05)

    for i in range(4):
        pixels = inputs[i, :, 2::4, 2::4][:, hidden[i]]
        middle = np.quantile(pixels, 0.5, axis=1, method='inverted_cdf', keepdims=True)
        weight = 1 + edge[i, 2::4, 2::4][hidden[i]]
        wanted['pixel'].append((np.abs(pixels - middle) * weight).sum() / (3 * weight.sum()))
        strength = edge[i].reshape(16, 4, 16, 4).mean((1, 3))[hidden[i]]
        wanted['edge'].append(smooth_l1(np.abs(strength - np.quantile(strength, 0.5, method='inverted_cdf'))).mean())
        own = cells[i][:, hidden[i].reshape(8, 2, 8, 2).all((1, 3))]
        wanted['hog'].append(own.var(1).mean())
    for name in NAMES:
        assert got[name] == pytest.approx(np.mean(wanted[name]), rel=1e-4), name


def steps(model, inputs, iterations, parts=1):
    """The losses of pixels and terms of some steps whose images are computed in equal parts."""
    kept = []
    for iteration in iterations:
        model.set_iteration(iteration, 1000, 0)
        pieces = [dict(inputs=piece) for piece in inputs.chunk(parts)]
        with whole_step(model, pieces, torch.enable_grad()):
            losses = []
            for number, piece in enumerate(pieces):
                model.set_part(number, parts)
                losses.append(model.loss(piece['inputs']))
        kept.append([torch.stack([one[f'loss_{name}'] for one in losses]).mean().item() for name in NAMES])
    return kept


def test_parts_and_a_resume_change_nothing(build, normalized):
    model = build(balance=SKILL)
    inputs = normalized(IMAGES, model)
    torch.nn.init.normal_(model.terms['structure'].head.predict[1].weight, 0, 0.1)
    other, resumed = copy.deepcopy(model), build(seed=3, balance=SKILL)
    whole = steps(model, inputs, range(3))
    assert model.balance.scale.all() and model.balance.measured == 1  # step 0 counts from step 1 on
    assert whole[0][2] != pytest.approx(whole[1][2], rel=1e-2)
    np.testing.assert_allclose(steps(other, inputs, range(3), parts=2), whole, rtol=1e-5)
    early = copy.deepcopy(build(balance=SKILL))
    early.load_state_dict(other.state_dict())
    steps(early, inputs, [10])  # measured, not yet counted
    resumed.load_state_dict(early.state_dict())
    assert steps(resumed, inputs, [11]) == steps(early, inputs, [11])
    assert resumed.balance.measured == 2
    early.eval()
    assert not early.balance.is_measured(20)


def test_two_processes_agree(build, monkeypatch):
    monkeypatch.setattr('egmim_mm.models.terms.balance.dist.all_reduce', lambda values, op: values.mul_(0.5))
    balance = balance_of(build)
    measured(balance, (0.8, 0.2, 0.086), (1.6, 0.4, 0.0896))
    assert balance.level.tolist() == [pytest.approx([0.4, 0.1, 0.043]), pytest.approx([0.8, 0.2, 0.0448])]


def test_bad_settings_are_refused():
    for settings in (dict(least=1.5), dict(every=0)):
        with pytest.raises(ValueError, match='least must be in 0..1 and every at least 1'):
            SkillBalance([], **settings)
