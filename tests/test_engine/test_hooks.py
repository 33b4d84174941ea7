"""Hooks, in tiny runs of MMEngine's Runner."""
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODEL_WRAPPERS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from egmim_mm.checkpoints import describe_source, read_checkpoint, resolve_source
from egmim_mm.engine import FiniteLossHook, IterationSeedHook, MaskCurriculumHook, SafeCheckpointHook
from egmim_mm.engine.hooks.checkpointing import update_link

NUMBERS = count()  # MMEngine keeps the state of every experiment of a process by its name


class Line(BaseModel):
    """w x, with noise that makes its training depend on torch's seed."""

    def __init__(self, spoil_loss_at=None, spoil_weights_at=None):
        super().__init__()
        self.fit = nn.Linear(2, 1)
        self.steps = 0
        self.spoil_loss_at, self.spoil_weights_at = spoil_loss_at, spoil_weights_at
        self.positions = []

    def set_iteration(self, *position):
        self.positions.append(position)

    def forward(self, inputs, mode='tensor'):
        self.steps += 1
        loss = (self.fit(inputs) + torch.randn(())).square().mean()
        if self.steps == self.spoil_loss_at:
            loss = loss * float('nan')
        if self.steps == self.spoil_weights_at:
            self.fit.bias.data.fill_(float('inf'))
            return dict(loss=0 * self.fit.weight.sum())
        return dict(loss=loss)


@pytest.fixture
def run(tmp_path):
    """Function: train ``model`` in ``tmp_path / name`` with our hooks and return the Runner."""
    init_default_scope('mmengine')
    return lambda model, name='run', **options: train(model, tmp_path / name, **options)


def train(model, work_dir, max_iters=6, interval=2, seed=3, hooks=(), resume=False, cfg=None, **options):
    torch.manual_seed(0)
    model.fit.reset_parameters()
    data = [torch.full((2, ), float(i)) for i in range(4)]
    runner = Runner(
        model=model, work_dir=str(work_dir), experiment_name=f'test_hooks_{work_dir.name}_{next(NUMBERS)}',
        train_dataloader=dict(batch_size=2, dataset=data, sampler=dict(type='InfiniteSampler', shuffle=False, seed=0),
                              collate_fn=lambda batch: dict(inputs=torch.stack(batch))),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)),
        default_hooks=dict(logger=dict(type='LoggerHook', log_metric_by_epoch=False),
                           checkpoint=SafeCheckpointHook(interval=interval, **options)),
        custom_hooks=[FiniteLossHook(), IterationSeedHook(), MaskCurriculumHook(), *hooks],
        randomness=dict(seed=seed), resume=resume, log_level='ERROR', cfg=Config(cfg or {}, filename=None))
    runner.train()
    return runner


def weights(path):
    return read_checkpoint(path)['state_dict']


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_last_points_to_the_newest_after_every_checkpoint(run, tmp_path):
    seen = []

    class Watch(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, *args, **kwargs):
            last = tmp_path / 'run' / 'last.pth'
            seen.append(last.resolve().name if last.exists() else None)

    model = Line()
    run(model, hooks=[Watch()])
    assert seen == [None, 'iter_2.pth', 'iter_2.pth', 'iter_4.pth', 'iter_4.pth', 'iter_6.pth']
    assert sorted(p.name for p in (tmp_path / 'run').glob('*.pth')) == ['iter_4.pth', 'iter_6.pth', 'last.pth']
    assert same(weights(tmp_path / 'run' / 'last.pth'), model.state_dict())
    assert resolve_source(str(tmp_path / 'run')).samefile(tmp_path / 'run' / 'iter_6.pth')


def test_last_survives_moving_the_work_dir(run, tmp_path):
    run(Line())
    (tmp_path / 'run').rename(tmp_path / 'moved')
    assert (tmp_path / 'moved' / 'last.pth').is_file()


def test_last_is_a_copy_where_links_are_impossible(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError('no links here')

    monkeypatch.setattr('pathlib.Path.symlink_to', refuse)
    for name in ('iter_1.pth', 'iter_2.pth'):
        (tmp_path / name).write_text(name)
        last = update_link(tmp_path / name, 'last.pth')
        assert last == tmp_path / 'last.pth' and last.read_text() == name and not last.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['iter_1.pth', 'iter_2.pth', 'last.pth']


def test_real_checkpoint_is_read_without_running_code(run, tmp_path):
    run(Line())
    checkpoint = read_checkpoint(tmp_path / 'run' / 'last.pth')
    assert checkpoint['meta']['iter'] == 6 and {'optimizer', 'message_hub'} <= checkpoint.keys()


def test_spoiled_weights_are_not_saved(run, tmp_path):
    message = r'1 parameters \(first: fit.bias\).*after iteration 4; nothing was saved'
    with pytest.raises(FloatingPointError, match=message):
        run(Line(spoil_weights_at=4))
    assert sorted(p.name for p in (tmp_path / 'run').glob('*.pth')) == ['iter_2.pth', 'last.pth']
    assert all(torch.isfinite(v).all() for v in weights(tmp_path / 'run' / 'last.pth').values())
    assert (tmp_path / 'run' / 'last_checkpoint').read_text().endswith('iter_2.pth')


def test_nan_loss_stops_and_names_the_last_good_checkpoint(run, tmp_path):
    message = r'loss became NaN or infinite at iteration 4\. Last good checkpoint: .*run/iter_2\.pth\. .*--resume'
    with pytest.raises(FloatingPointError, match=message):
        run(Line(spoil_loss_at=4))
    assert sorted(p.name for p in (tmp_path / 'run').glob('*.pth')) == ['iter_2.pth', 'last.pth']


def test_nan_loss_before_the_first_checkpoint(run):
    with pytest.raises(FloatingPointError, match='iteration 1. Last good checkpoint: none was saved yet'):
        run(Line(spoil_loss_at=1))


def test_one_checkpoint_is_too_few():
    with pytest.raises(ValueError, match='max_keep_ckpts must be at least 2'):
        SafeCheckpointHook(max_keep_ckpts=1)
    assert SafeCheckpointHook(max_keep_ckpts=-1).by_epoch is False


def test_lineage_lists_every_run(run, tmp_path):
    run(Line(), 'first', max_iters=2)
    lineage = read_checkpoint(tmp_path / 'first' / 'last.pth')['meta']['lineage']
    assert [(s['iterations'], s['seed'], s['source']) for s in lineage] == [(2, 3, None)]
    source = describe_source(str(tmp_path / 'first'))
    run(Line(), 'second', cfg=dict(backbone_source=source))
    after = read_checkpoint(tmp_path / 'second' / 'last.pth')['meta']['lineage']
    assert after[:1] == lineage and len(after) == 2
    assert (after[1]['iterations'], after[1]['source']) == (6, source['sha256'])


def test_lineage_survives_resuming(run, tmp_path):
    run(Line(), 'first', max_iters=2)
    source = describe_source(str(tmp_path / 'first'))
    run(Line(), 'second', max_iters=2, cfg=dict(backbone_source=source))
    run(Line(), 'second', resume=True)  # without --backbone, as tools/train.py has it
    lineage = read_checkpoint(tmp_path / 'second' / 'last.pth')['meta']['lineage']
    assert lineage[:1] == source['lineage'] and len(lineage) == 2
    assert (lineage[1]['iterations'], lineage[1]['source']) == (6, source['sha256'])


def test_declared_weights_are_in_the_lineage_of_a_plain_runner_too(run, tmp_path):
    run(Line(), 'first', max_iters=2)
    run(Line(), 'second', cfg=dict(load_from=str(tmp_path / 'first')))
    lineage = read_checkpoint(tmp_path / 'second' / 'last.pth')['meta']['lineage']
    assert [s['source'] for s in lineage] == [None, describe_source(str(tmp_path / 'first'))['sha256']]


def test_model_is_told_where_training_stands(run):
    model = Line()
    run(model, max_iters=3)
    assert model.positions == [(0, 3, 3), (1, 3, 3), (2, 3, 3)]


def test_model_in_a_wrapper_is_told_too():
    @MODEL_WRAPPERS.register_module(name='HooksTestWrapper', force=True)
    class Wrapper(nn.Module):

        def __init__(self, module):
            super().__init__()
            self.module = module

    model = Line()
    runner = SimpleNamespace(model=Wrapper(model), iter=5, max_iters=9, seed=2)
    MaskCurriculumHook().before_train_iter(runner, 0)
    assert model.positions == [(5, 9, 2)]


def test_resumed_run_equals_an_uninterrupted_one(run, tmp_path):
    whole, first, second = Line(), Line(), Line()
    run(whole, 'whole')
    run(first, 'parts', max_iters=4)
    torch.rand(17)  # another state of the global generator
    run(second, 'parts', resume=True)
    assert same(whole.state_dict(), second.state_dict()) and not same(whole.state_dict(), first.state_dict())
    assert second.steps == 2


def test_noise_depends_on_seed_and_iteration(run):
    models = [Line() for _ in range(3)]
    for i, (model, seed) in enumerate(zip(models, (3, 3, 4))):
        run(model, f'run_{i}', seed=seed)
    assert same(models[0].state_dict(), models[1].state_dict())
    assert not same(models[0].state_dict(), models[2].state_dict())


def test_iterations_and_ranks_draw_different_noise(monkeypatch):
    draws = set()
    for rank in range(3):
        monkeypatch.setattr('egmim_mm.engine.hooks.iteration.get_rank', lambda rank=rank: rank)
        for seed in range(3):
            for iteration in range(20):
                IterationSeedHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration), 0)
                draws.add(torch.rand(1).item())
    assert len(draws) == 180
