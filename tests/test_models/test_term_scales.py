"""The scales of the auxiliary terms: set once, early, kept in the checkpoint, and never looked at again."""
import copy

import pytest
import torch
from egmim_terms import EVERYTHING, GRADIENT, PIXEL, STRUCTURE
from mmengine.runner.checkpoint import load_state_dict

IMAGES = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('max_iters, due', [(10000, 200), (1000, 100), (5, 0)])
def test_scales_are_set_once_and_early(build, normalized, max_iters, due):
    model = build()
    inputs = normalized(IMAGES, model)
    for iteration in range(max(0, due - 2), due):
        model.set_iteration(iteration, max_iters, 0)
        model.loss(inputs)
        assert model.balance.scale.tolist() == [0, 0]
    model.set_iteration(due, max_iters, 0)
    losses = model.loss(inputs)
    for name in ('edge', 'hog'):
        assert losses[f'loss_{name}'].item() == pytest.approx(0.5 * losses['loss_pixel'].item(), rel=1e-5)
    scale = model.balance.scale.clone()
    assert torch.allclose(scale * torch.stack([losses['edge'], losses['hog']]), losses['loss_pixel'].detach())
    model.set_iteration(due + 1, max_iters, 0)
    losses = model.loss(0.5 * inputs)
    assert torch.equal(model.balance.scale, scale)
    assert losses['loss_hog'].item() == pytest.approx(0.5 * scale[1].item() * losses['hog'].item(), rel=1e-5)


@pytest.mark.parametrize('terms, names', [([PIXEL, STRUCTURE, GRADIENT], ['edge', 'hog', 'grad']),
                                          ([PIXEL, GRADIENT], ['grad'])])
def test_gradient_term_is_rescaled_like_the_others(build, normalized, terms, names):
    model = build(terms=terms)
    assert model.balance.scale.tolist() == [0] * len(names)
    model.set_iteration(100, 1000, 0)
    losses = model.loss(normalized(IMAGES, model))
    for term in names:
        weight = 0.25 if term == 'grad' else 0.5
        assert losses[f'loss_{term}'].item() == pytest.approx(weight * losses['loss_pixel'].item(), rel=1e-5)


@pytest.mark.parametrize('load', [lambda m, s: m.load_state_dict(s), lambda m, s: load_state_dict(m, s)],
                         ids=['torch', 'mmengine'])
@pytest.mark.parametrize('terms', [[PIXEL, STRUCTURE], [PIXEL, STRUCTURE, GRADIENT]])
def test_scales_are_not_set_in_evaluation_and_survive_a_checkpoint(build, normalized, load, terms):
    model = build(terms=terms)
    inputs = normalized(IMAGES, model)
    model.set_iteration(500, 1000, 0)
    model.eval()
    model.loss(inputs)
    assert not model.balance.scale.any()
    unset = copy.deepcopy(model.state_dict())
    model.train()
    model.loss(inputs)
    other = build(seed=1, terms=terms)
    load(other, model.state_dict())
    assert torch.equal(other.balance.scale, model.balance.scale) and model.balance.scale.all()
    other.set_iteration(501, 1000, 0)
    other.loss(0.5 * inputs)
    assert torch.equal(other.balance.scale, model.balance.scale)
    # a checkpoint from before they were set; also one loaded into a model that had set them
    load(other, unset)
    other.loss(inputs)
    assert other.balance.scale.all()


def test_checkpoint_with_other_terms_is_refused(build):
    weights = build(terms=[PIXEL, STRUCTURE, GRADIENT]).state_dict()
    for load in (lambda model: model.load_state_dict(weights), lambda model: load_state_dict(model, weights)):
        with pytest.raises(ValueError, match=r'balances 3 auxiliary loss terms, this model has 2 \(edge, hog\): '):
            load(build())
        with pytest.raises(ValueError, match=r'has 0 \(none\): resume with the model.terms it was trained with'):
            load(build('simmim_swin-base'))


def test_checkpoint_of_an_earlier_version_is_refused(build):
    weights = build('simmim_swin-base').state_dict()
    old = {key.replace('terms.pixel.head.', 'head.').replace('balance.scale', 'term_scale'): value
           for key, value in weights.items()}
    assert {'head.decoder.0.weight', 'term_scale'} <= set(old)
    for load in (lambda model: model.load_state_dict(old), lambda model: load_state_dict(model, old)):
        for name in ('simmim_swin-base', 'egmim_swin-base'):
            with pytest.raises(ValueError, match='of an earlier version.* cannot be resumed. Start a new run .*--back'):
                load(build(name))


def test_step_reads_no_tensor_back(build, normalized, monkeypatch):
    # on a GPU every look at a value waits for all that was queued before it
    model = build(terms=EVERYTHING, nodata=dict(value=0))
    inputs = normalized(IMAGES, model)
    model.set_iteration(100, 1000, 0)
    model.loss(inputs)
    assert model.balance.scale.all()
    edge = model.edge_prior(IMAGES)
    model.edge_prior.forward = lambda images, valid, looked: edge  # Kornia checks a sigma of its own on the CPU

    def read(tensor, *args):
        raise AssertionError('a tensor is read back')

    for name in ('__bool__', '__int__', '__float__', 'item', 'tolist', 'numpy', 'cpu', 'nonzero'):
        monkeypatch.setattr(torch.Tensor, name, read)
    for iteration in (101, 300):
        model.set_iteration(iteration, 1000, 0)
        model.loss(inputs)
