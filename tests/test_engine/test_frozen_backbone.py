"""The backbone is frozen for a share of the run, then trained with growing learning rates; averaged weights."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import HOOKS
from torch import nn

from egmim_mm.checkpoints import read_checkpoint
from egmim_mm.engine import FrozenBackboneHook
from egmim_mm.engine.compilation import compile_parts
from egmim_mm.engine.device import adapt_to_device

STATES = []  # of the model, before each iteration and after the last one


@HOOKS.register_module(force=True)
class RecordStates(Hook):
    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        modes = {name: module.training for name, module in runner.model.named_modules()}
        STATES.append((weights(runner), modes, [p.requires_grad for p in runner.model.parameters()]))

    def after_train(self, runner):
        STATES.append((weights(runner), {}, [p.requires_grad for p in runner.model.parameters()]))


def weights(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def options(*hooks, **more):
    names = [dict(type='RecordRates'), dict(type='egmim_mm.IterationSeedHook'), dict(type='RecordStates'), *hooks]
    STATES.clear()
    return dict(custom_hooks=names) | more


def same(one, other):
    return {name for name in one if torch.equal(one[name], other[name])}


BACKBONE = {f'backbone.stages.{i}.blocks.0.{kind}' for i in (0, 1) for kind in ('weight', 'bias')}
HALF = dict(type='egmim_mm.FrozenBackboneHook', until=0.5, warmup=1 / 3)


def test_heads_first_then_everything_with_growing_rates(toy):
    plain = toy('plain').rates
    ours = toy('ours', options(HALF))
    # six iterations: three frozen, then half and all of the planned rates of the two groups of the backbone
    for iteration, factor in enumerate([1, 1, 1, 0.5, 1, 1]):
        first, second, head, decay = plain[iteration]
        assert ours.rates[iteration] == [first * factor, second * factor, head, decay]
    values = [state[0] for state in STATES]
    assert all(same(one, values[0]) & BACKBONE == BACKBONE for one in values[:4])
    # the schedule ends at 0, so that the last iteration changes nothing
    assert not any(same(one, other) & BACKBONE for one, other in zip(values[3:5], values[4:6]))
    assert not any(same(one, other) - BACKBONE for one, other in zip(values[:5], values[1:6]))
    assert [state[1]['backbone.stages.0'] for state in STATES[:6]] == [False] * 3 + [True] * 3
    assert all(state[1]['head'] for state in STATES[:6]) and all(STATES[-1][2])
    assert 'The backbone is frozen for 3 of 6 iterations' in ours.log


def test_frozen_to_the_end(toy):
    run = toy('run', options(dict(type='egmim_mm.FrozenBackboneHook')))
    assert same(STATES[0][0], STATES[-1][0]) == BACKBONE and 'frozen for 6 of 6' in run.log


@pytest.mark.parametrize('until', [2, 4])  # while it is frozen, and after
def test_a_resumed_run_is_exact(toy, until):
    toy('whole', options(HALF))
    wanted = STATES[-1][0]
    toy('run', options(HALF), until=until)
    toy('run', options(HALF), resume=True)
    assert same(STATES[-1][0], wanted) == set(wanted)


def test_what_is_frozen_otherwise_stays_so():
    model = SimpleNamespace(backbone=nn.Linear(2, 2))
    model.backbone.bias.requires_grad_(False)
    hook, runner = FrozenBackboneHook(0.5, 0), runner_of(model, [model.backbone.weight])
    hook.before_train(runner)
    for runner.iter, trained in ((0, False), (5, True)):
        hook.before_train_iter(runner, 0)
        assert model.backbone.weight.requires_grad is trained and not model.backbone.bias.requires_grad
    hook.after_train(runner)
    assert not model.backbone.bias.requires_grad


def runner_of(model, *groups):
    optimizer = torch.optim.SGD([dict(params=list(group)) for group in groups], lr=0.1)
    return SimpleNamespace(model=model, max_iters=10, iter=0, _resume=True, _load_from=None, cfg={},
                           optim_wrapper=SimpleNamespace(optimizer=optimizer), logger=MMLogger.get_instance('frozen'))


class Two(nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, x):
        return self.head(self.backbone(x)).sum()


def test_processes_do_not_wait_for_gradients_of_the_backbone(tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/meeting', rank=0, world_size=1)
    try:
        model = Two()
        groups = model.backbone.parameters(), model.head.parameters()
        with pytest.raises(ValueError, match='find_unused_parameters=True'):
            FrozenBackboneHook().before_train(runner_of(MMDistributedDataParallel(model), *groups))
        wrapped = MMDistributedDataParallel(model, find_unused_parameters=True)
        hook = FrozenBackboneHook(0.5, 0)
        runner = runner_of(wrapped, model.backbone.parameters(), model.head.parameters())
        hook.before_train(runner)
        for runner.iter in range(3, 7):
            hook.before_train_iter(runner, 0)
            wrapped.forward = lambda x: nn.parallel.DistributedDataParallel.forward(wrapped, x)
            wrapped(torch.ones(1, 2)).backward()
            assert (model.backbone.weight.grad is not None) is (runner.iter >= 5), runner.iter
            assert model.head.weight.grad is not None
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize('setting', [{}, dict(find_unused_parameters=True)])
def test_processes_on_cpus_get_the_setting(monkeypatch, setting):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    cfg = Config(setting)
    adapt_to_device(cfg, 'pytorch', False)
    assert cfg.model_wrapper_cfg.find_unused_parameters is bool(setting)


@pytest.mark.parametrize('settings', [dict(until=0), dict(until=1.5), dict(warmup=-0.1), dict(warmup=2)])
def test_shares_out_of_range(settings):
    with pytest.raises(ValueError, match='in shares of the run; got'):
        FrozenBackboneHook(**settings)


def test_one_group_for_backbone_and_heads(toy):
    with pytest.raises(ValueError, match='give the heads another lr_mult'):
        toy('run', options(HALF) | {'optim_wrapper.constructor': 'egmim_mm.MergedGroups',
                                    'optim_wrapper.paramwise_cfg': dict(_delete_=True, bias_lr_mult=1.0)})


def test_averaged_weights_are_evaluated_and_saved_and_a_resumed_run_is_exact(toy, tmp_path):
    """MMEngine's EMAHook in our chain: the weights after the first iteration, then w <- (1 - m) w + m (trained)."""
    ema = dict(type='EMAHook', momentum=0.25)
    evaluated = []

    @HOOKS.register_module(force=True)
    class RecordEvaluated(Hook):
        priority = 'LOWEST'

        def before_val_iter(self, runner, *args, **kwargs):
            evaluated.append(weights(runner))

    evaluating = {'train_cfg.val_interval': 6, 'train_cfg.val_begin': 1}
    run = toy('run', options(ema, dict(type='RecordEvaluated'), HALF) | evaluating)
    trained = [state[0] for state in STATES]
    wanted = trained[1]
    for values in trained[2:]:
        wanted = {name: torch.lerp(value, values[name], 0.25) for name, value in wanted.items()}
    assert not torch.equal(trained[-1]['head.weight'], wanted['head.weight'])
    saved = read_checkpoint(tmp_path / 'run' / 'last.pth')['state_dict']
    for values in (saved, evaluated[-1]):
        for name, value in wanted.items():
            torch.testing.assert_close(values[name], value)
    assert same(weights(run.runner), trained[-1]) == set(wanted)  # training goes on with its own
    for part in ({'until': 4}, {'resume': True}):
        toy('again', options(ema, HALF) | evaluating, **part)
    assert same(read_checkpoint(tmp_path / 'again' / 'last.pth')['state_dict'], saved) == set(wanted)


def test_a_compiled_backbone_follows():
    model = Two()
    compile_parts(model, dict(backend='eager'))
    hook = FrozenBackboneHook(0.5, 0)
    runner = runner_of(model, model.backbone.parameters(), model.head.parameters())
    hook.before_train(runner)
    for runner.iter in (0, 4, 5, 6):
        hook.before_train_iter(runner, 0)
        model(torch.ones(1, 2)).backward()
        assert (model.backbone.weight.grad is not None) is (runner.iter >= 5)


def test_without_a_warmup_a_group_may_hold_backbone_and_heads(toy):
    merged = dict(optim_wrapper=dict(constructor='egmim_mm.MergedGroups', paramwise_cfg=dict(_delete_=True)))
    hook = dict(type='egmim_mm.FrozenBackboneHook', until=0.5, warmup=0)
    ours, states = toy('ours', options(hook, **merged)), list(STATES)
    plain = toy('plain', options(**merged))
    assert ours.rates == plain.rates and len(ours.rates[0]) == 2  # one group, and its weight decay
    assert [same(state[0], states[0][0]) & BACKBONE == BACKBONE for state in states[:5]] == [True] * 4 + [False]
