"""A term that is left out takes along what only it read: every parameter learns, also in two processes."""
from itertools import chain, combinations

import pytest
import torch
from egmim_terms import ANCHOR, GRADIENT, PIXEL, STRUCTURE
from torch import distributed
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from egmim_mm.models import EGMIM

EDGE_ONLY = dict(STRUCTURE, hog_bins=0)
OTHERS = [STRUCTURE, EDGE_ONLY, GRADIENT, ANCHOR]
CHOICES = [list(c) for c in chain.from_iterable(combinations(OTHERS, n) for n in range(4))
           if not (STRUCTURE in c and EDGE_ONLY in c)]
BACKBONE = dict(type='egmim_mm.MaskedSwinTransformer', img_size=64, window_size=4,
                arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]))


VISIBLE = dict(encode='visible', arch=dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]))


def small(terms, **backbone):
    torch.manual_seed(0)
    policy = 'edge_uniform' if 'encode' in backbone else 'edge_stratified'
    model = EGMIM(BACKBONE | backbone, terms,
                  mask_generator=dict(type='egmim_mm.EdgeGuidedMaskGenerator', policy=policy))
    model.init_weights()
    return model.train()


def step(model, iteration):
    (model.module if hasattr(model, 'module') else model).set_iteration(iteration, 10, 0)
    losses = model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(iteration)), mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()


@pytest.mark.parametrize('encoding', [{}, VISIBLE], ids=['dense', 'visible'])
@pytest.mark.parametrize('kind', ['MaskedSwinTransformer', 'MaskedSwinTransformerV2'])
@pytest.mark.parametrize('others', CHOICES, ids=lambda terms: '+'.join(t['type'][9:-4] for t in terms) or 'none')
def test_every_parameter_has_a_gradient(others, kind, encoding):
    model = small([PIXEL, *others], type=f'egmim_mm.{kind}', **encoding)
    step(model, 0)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    read = {3} | {i for term in model.terms.values() for i in term.stages}
    norms = {name.split('.')[0] for name, _ in model.backbone.named_parameters() if name.startswith('norm')}
    assert norms == {f'norm{i}' for i in read} and model.backbone.out_indices == tuple(sorted(read))


def train_in_a_process(rank, rendezvous):
    distributed.init_process_group('gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=2)
    for encoding in ({}, VISIBLE):
        # with a parameter that has no gradient the second step raises
        model = DistributedDataParallel(small([PIXEL], **encoding))
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        for iteration in range(3):
            optimizer.zero_grad()
            step(model, iteration)
            optimizer.step()
        weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        both = [torch.empty_like(weights) for _ in range(2)]
        distributed.all_gather(both, weights)
        assert torch.equal(both[0], both[1]) and torch.isfinite(weights).all()
    distributed.destroy_process_group()


def test_two_processes_train_without_the_structure_term(tmp_path):
    spawn(train_in_a_process, (str(tmp_path / 'rendezvous'), ), nprocs=2)
