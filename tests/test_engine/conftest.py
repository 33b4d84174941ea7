"""A toy run of a few milliseconds, through the same steps as tools/train.py."""
import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn

from egmim_mm.engine.console_runner import ConsoleRunner
from egmim_mm.engine.launch import settle_schedule
from egmim_mm.engine.starting import start_or_resume

NUMBERS = count()  # MMEngine keeps the state of every experiment of a process by its name
RATES: list[list[float]] = []  # learning rates of the groups, and last the weight decay, in each iteration


class ToyStage(BaseModule):

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 2)])
        self.downsample = None


class ToyBackbone(BaseModule):

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.stages = nn.ModuleList([ToyStage(), ToyStage()])


@MODELS.register_module(force=True)
class ResumeToy(BaseModel):
    """Two linear stages and a head; ``pull`` is a setting without parameters."""

    def __init__(self, backbone, pull=0.1, test_cfg=None, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(2, 1)
        self.pull = pull

    def forward(self, inputs, mode='tensor'):
        x = torch.stack(inputs)
        for stage in self.backbone.stages:
            x = stage.blocks[0](x)
        value = self.head(x)
        return dict(loss=(value - self.pull).square().mean()) if mode == 'loss' else [dict(value=v) for v in value]


MODELS.register_module(name='ResumeToyBackbone', module=ToyBackbone, force=True)


@DATASETS.register_module(force=True)
class ResumeToyTiles(torch.utils.data.Dataset):

    def __init__(self, number=4, data_root='nowhere'):
        file = Path(data_root, 'number.txt')
        self.number = int(file.read_text()) if file.is_file() else number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return dict(inputs=torch.full((2, ), index / 4.0))


@METRICS.register_module(force=True)
class ResumeToyMetric(BaseMetric):
    """Scores that rise and fall over the evaluations: 1, 3, 2, 1, ..."""
    rounds = count()

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(mIoU=[1.0, 3.0, 2.0][next(ResumeToyMetric.rounds) % 3])


@HOOKS.register_module(force=True)
class RecordRates(Hook):

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        RATES.append([group['lr'] for group in groups] + [groups[0]['weight_decay']])


def toy_settings(work_dir, name, options):
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type='ResumeToyTiles'))
    cfg = Config(dict(
        model=dict(type='ResumeToy', backbone=dict(type='ResumeToyBackbone')), default_scope='mmengine',
        experiment_name=f'toy_{name}', work_dir=str(work_dir),
        train_dataloader=dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=6, val_interval=100, val_begin=100),
        val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)), val_cfg=dict(type='ValLoop'),
        val_evaluator=[dict(type='ResumeToyMetric')],
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.01),
            constructor='egmim_mm.SwinLayerDecay', paramwise_cfg=dict(decay_rate=0.5)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0.0, end=0.5),
                         dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0.5, end=1.0)],
        auto_scale_lr=dict(enable=True, base_batch_size=4),
        default_hooks=dict(
            logger=dict(type='LoggerHook', log_metric_by_epoch=False),
            checkpoint=dict(type='egmim_mm.SafeCheckpointHook', interval=2),
            results=dict(type='egmim_mm.ResultsHook')),
        custom_hooks=[dict(type='RecordRates'), dict(type='egmim_mm.IterationSeedHook')],
        randomness=dict(seed=3), log_level='INFO'))
    cfg.merge_from_dict(options or {})
    settle_schedule(cfg)
    return cfg


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Function: train the toy in ``tmp_path / name`` as tools/train.py would.

    It stops after ``until`` iterations as if it were killed. Returns ``rates`` of each iteration made, ``line`` (what
    a finished run says), the ``runner`` and the ``log``.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ResumeToyMetric, 'rounds', count())

    def run(name='run', options=None, until=None, **start):
        cfg = toy_settings(tmp_path / name, f'{name}_{next(NUMBERS)}', options)
        RATES.clear()
        line = start_or_resume(cfg, **start)
        runner = None if line else ConsoleRunner.from_cfg(cfg)
        if until:
            runner.register_hook(Killed(until), priority='LOWEST')
        try:
            runner and runner.train()
        except Kill:
            pass
        log = ''.join(path.read_text() for path in (tmp_path / name).rglob('*.log'))
        return SimpleNamespace(rates=[list(r) for r in RATES], line=line, runner=runner, log=log)

    return run


class Kill(BaseException):
    """The end of a process."""


class Killed(Hook):

    def __init__(self, until):
        self.until = until

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.until:
            raise Kill


@pytest.fixture
def results(tmp_path):
    """Function: ``results.json`` of the toy run ``name``."""
    return lambda name='run': json.loads((Path(tmp_path) / name / 'results.json').read_text())
