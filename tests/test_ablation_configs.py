"""configs/ablations: every file builds, learns something finite, and changes what its name says."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from egmim_mm.registry import MODELS

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'ablations'
PRETRAINING = sorted(p.stem for p in FOLDER.glob('*.py') if p.stem != 'upernet')
MASKS = {
    'random32': dict(policy='random', cell_size=32),
    'random16': dict(policy='random', cell_size=16),
    'random_adaptive': dict(policy='random_adaptive'),
    'edge_adaptive': dict(policy='edge_adaptive'),
    'edge_stratified': dict(policy='edge_stratified', cell_size=16),
    'edge_topk': dict(policy='edge_topk', cell_size=16)
}
LOSSES = dict(pixel={'pixel'}, weight={'pixel'}, edge={'pixel', 'edge'}, hog={'pixel', 'edge', 'hog'})


def config(name):
    return Config.fromfile(FOLDER / f'{name}.py')


@pytest.mark.parametrize('name', PRETRAINING)
def test_builds_and_learns(name):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(config(name).model).train()
    model.set_iteration(1, 10, 0)
    losses = model.loss(torch.randn(2, 3, 64, 64))
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    without = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    assert not without and all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize('target', LOSSES)
def test_grid_is_mask_times_target(mask, target):
    cfg = config(f'{mask}_{target}')
    generator = cfg.model.mask_generator
    assert {key: generator[key] for key in MASKS[mask]} == MASKS[mask]
    assert cfg.model.terms[0].gamma == (0 if target == 'pixel' else 1)
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model)
    assert {name for term in model.terms.values() for name in term.loss_names} == LOSSES[target]
    # the rest is the same for all
    base = config('base')
    for key in ('optim_wrapper', 'train_cfg', 'train_dataloader', 'param_scheduler'):
        assert cfg[key] == base[key]


@pytest.mark.parametrize('name', sorted(p.stem for p in FOLDER.glob('*_*.py') if p.stem.split('_')[0] in
                                        ('beta', 'ratio', 'lambda', 'gamma', 'operator')))
def test_one_value_differs_from_the_base(name):
    kind, value = name.split('_', 1)
    places = dict(beta=('mask_generator', 'beta'), ratio=('mask_generator', 'ratio'),
                  operator=('edge_prior', 'operator'))
    model, base = config(name).model, config('base').model
    if kind == 'lambda':
        assert model.terms[1].weight == float(value) != base.terms[1].weight
        assert model.terms[0] == base.terms[0]
    elif kind == 'gamma':
        assert model.terms[0].gamma == float(value) != base.terms[0].gamma
        assert model.terms[1] == base.terms[1]
    else:
        part, key = places[kind]
        assert str(model[part][key]) == value != str(base[part].get(key))


def test_the_segmentor_reads_the_pretrained_backbone():
    assert config('upernet').model.backbone.arch == config('base').model.backbone.arch
