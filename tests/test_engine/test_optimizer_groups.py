"""Merged parameter groups train as one group for each parameter does; old checkpoints are refused with the way out."""
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.engine.layer_decay import SwinLayerDecay
from egmim_mm.engine.optimizer_groups import MergedGroups, check_groups, merge_groups
from egmim_mm.models import MaskedSwinTransformer

SCHEDULES = Path(__file__).parents[2] / 'configs/_base_/schedules'
ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 1, 2, 2])


class Model(nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone = MaskedSwinTransformer(ARCH, img_size=32, window_size=2)
        self.decode_head = nn.Linear(64, 3)

    def loss(self, images, mask):
        *shallow, last = self.backbone(images, mask)
        return self.decode_head(last.mean((2, 3))).square().mean() + sum(x.square().mean() for x in shallow)


def settings(schedule, **optimizer):
    cfg = Config.fromfile(SCHEDULES / f'{schedule}.py').optim_wrapper.to_dict()
    return dict(type='OptimWrapper', clip_grad=cfg.get('clip_grad'),
                optimizer=cfg['optimizer'] | optimizer), cfg['paramwise_cfg']


def built(constructor, model, schedule='dapt', optimizer=None, **paramwise):
    wrapper, usual = settings(schedule, **(optimizer or {}))
    return constructor(wrapper, usual | paramwise)(model)


@pytest.mark.parametrize('schedule, number, paramwise', [
    ('dapt', 2, {}), ('finetune', 2, {}),
    ('finetune', 3, dict(custom_keys={'decode_head': dict(lr_mult=30.0)})),
])
def test_twenty_steps_equal_those_of_a_group_for_each_parameter(schedule, number, paramwise):
    torch.manual_seed(0)
    ours = Model().double()  # Adam blows up the rounding of keys' biases, whose gradient is 0
    theirs = deepcopy(ours)
    start = deepcopy(ours.state_dict())
    pairs = [(ours, built(MergedGroups, ours, schedule, dict(lr=1e-2), **paramwise)),
             (theirs, built(DefaultOptimWrapperConstructor, theirs, schedule, dict(lr=1e-2), **paramwise))]
    assert len(pairs[0][1].param_groups) == number + 1  # the last is MMEngine's, for the base learning rate
    assert len(pairs[1][1].param_groups) == len(list(theirs.parameters())) + 1
    for _ in range(20):
        images, mask = torch.randn(2, 3, 32, 32).double(), torch.rand(2, 8, 8) < 0.5
        for model, wrapper in pairs:
            wrapper.update_params(model.loss(images, mask))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-6, atol=1e-8, msg=name)
    for name in ('decode_head.weight', 'backbone.mask_token', 'backbone.stages.0.blocks.1.attn.w_msa.qkv.weight'):
        assert (ours.state_dict()[name] - start[name]).abs().max() > 1e-2, name


def test_every_parameter_once_with_the_settings_it_had():
    model = Model()
    names = {id(p): name for name, p in model.named_parameters()}
    merged, single = ({names[id(p)]: (group['lr'], group['weight_decay'])
                       for group in built(constructor, model).optimizer.param_groups for p in group['params']}
                      for constructor in (MergedGroups, DefaultOptimWrapperConstructor))
    assert merged == single and merged.keys() == set(names.values())


def test_layer_decay_has_two_groups_for_each_layer():
    wrapper = built(SwinLayerDecay, Model(), 'finetune', decay_rate=0.5)
    assert len(wrapper.optimizer.param_groups) == 2 * 10  # embedding, eight blocks, norms and head
    assert len({group['lr'] for group in wrapper.optimizer.param_groups}) == 10


def test_other_settings_keep_groups_apart():
    a, b, c, d = (nn.Parameter(torch.zeros(1)) for _ in range(4))
    groups = merge_groups([dict(params=[a], lr=1.0, lr_mult=2.0), dict(params=[b], betas=[0.9, 0.9]),
                           dict(params=[c], weight_decay=0.1), dict(params=[d], betas=[0.9, 0.9])],
                          lr=1.0, weight_decay=0.1)
    assert [group['params'] for group in groups] == [[a, c], [b, d]]
    assert groups[0]['lr'] == 1.0 and 'lr_mult' not in groups[0] and groups[1]['betas'] == [0.9, 0.9]


@pytest.mark.parametrize('optimizer, fused', [
    ({}, True), (dict(fused=False), False), (dict(foreach=True), None), (dict(type='Adamax', betas=(0.9, 0.9)), None)])
def test_fused_where_pytorch_has_it_and_nobody_objects(optimizer, fused):
    assert built(MergedGroups, Model(), 'dapt', optimizer).optimizer.defaults.get('fused') is fused


def trained(constructor, **paramwise):
    torch.manual_seed(0)
    model = Model()
    wrapper = built(constructor, model, **paramwise)
    wrapper.update_params(model.loss(torch.ones(1, 3, 32, 32), torch.zeros(1, 8, 8, dtype=torch.bool)))
    return wrapper


def test_resuming():
    source, target = trained(MergedGroups), built(MergedGroups, Model())
    target.load_state_dict(source.state_dict())
    for ours, theirs in zip(target.optimizer.state.values(), source.optimizer.state.values(), strict=True):
        assert torch.equal(ours['exp_avg'], theirs['exp_avg']) and ours['step'] == 1

    old = trained(DefaultOptimWrapperConstructor)
    number = len(old.optimizer.param_groups)
    with pytest.raises(CheckpointError, match=f'each of its {number} parameters: to go on with it add --cfg-options '
                       'optim_wrapper.paramwise_cfg.merge_groups=False$'):
        check_groups(built(MergedGroups, Model()).optimizer, old.optimizer.state_dict())
    for constructor, paramwise in ((MergedGroups, {}), (SwinLayerDecay, dict(decay_rate=0.9))):
        unmerged = built(constructor, Model(), merge_groups=False, **paramwise)
        check_groups(unmerged.optimizer, old.optimizer.state_dict())
        unmerged.load_state_dict(old.state_dict())
        assert len(unmerged.optimizer.state) == number


def test_resuming_with_another_model():
    ours, saved = built(SwinLayerDecay, Model(), decay_rate=0.5), trained(MergedGroups)
    with pytest.raises(CheckpointError, match=r'hold \[\d+, \d+\] parameters, those of this config \[.*resume with'):
        check_groups(ours.optimizer, saved.optimizer.state_dict())
