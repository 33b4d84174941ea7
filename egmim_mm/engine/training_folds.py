"""A training by iterations, judged on labelled tiles that are left out in turn, at several lengths."""
import copy
import gc
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from egmim_mm.checks import LaunchError
from egmim_mm.datasets.plain_tiles import load_steps
from egmim_mm.readout import kept_in
from egmim_mm.records.provenance import write_json

from .console_runner import ConsoleRunner

__all__ = ['judge_training']

LENGTHS = 4  # at a quarter, a half, three quarters and the whole of its iterations
FOLD_FILE = 'judged.json'


def judge_training(cfg: Config, name: str, members: Sequence[int], folds: Sequence[Sequence[int]],
                   folder: Path) -> dict[int, np.ndarray]:
    """Train on the tiles that a fold keeps, and predict those it leaves out four times on the way.

    Each fold is a training of its own in ``folder``, with a log and without checkpoints. One that is finished there,
    with the same settings, is not repeated.

    Args:
        cfg: Of the candidate, ready to run.
        name: Of its preset, for the log.
        members: Numbers of the labelled tiles in the training data.
        folds: Which of ``members`` are left out together.
        folder: For the folds.

    Returns:
        Iterations -> (folds, K, K) counts of pixels; rows are the truth.

    Raises:
        LaunchError: The training does not count iterations.
    """
    if not cfg.train_cfg.get('max_iters'):
        raise LaunchError('it has no train_cfg.max_iters, and its length is chosen in iterations: give it')
    judged = []
    for number, fold in enumerate(folds, 1):
        own = _fold_config(cfg, [members[tile] for tile in kept_in(fold, len(members))],
                           [members[tile] for tile in fold], folder / f'fold_{number}')
        judged.append(_read(own) or _train(own))
        print_log(f"Fold {number} of {len(folds)}: '{name}' trained, judged after {', '.join(map(str, judged[-1]))} "
                  'iterations', logger='current')
    return {length: np.array([one[length] for one in judged]) for length in judged[0]}


def _fold_config(cfg: Config, kept: Sequence[int], left_out: Sequence[int], work_dir: Path) -> Config:
    own = copy.deepcopy(cfg)
    train = own.train_dataloader
    pipeline = [*load_steps(train.dataset.pipeline), dict(type='mmseg.PackSegInputs')]
    dataset = dict(copy.deepcopy(train.dataset), pipeline=pipeline, test_mode=True, indices=list(left_out))
    train.dataset.indices = list(kept)
    train.sampler.update(budget=1.0, strategy='random', unit='tile')  # all of them
    own.merge_from_dict(dict(work_dir=str(work_dir), experiment_name='_'.join(work_dir.parts[-3:])))
    own.val_cfg = own.get('val_cfg') or ConfigDict(type='ValLoop')
    own.val_dataloader = ConfigDict(batch_size=1, num_workers=0, dataset=dataset,
                                    sampler=dict(type='DefaultSampler', shuffle=False))
    own.val_evaluator = ConfigDict(type='egmim_mm.SegmentationMetric', bootstrap_draws=0)
    for part in ('test_cfg', 'test_dataloader', 'test_evaluator'):
        own[part] = None
    own.train_cfg.val_interval = max(1, own.train_cfg.max_iters // LENGTHS)
    own.default_hooks.checkpoint = None
    own.default_hooks.pop('results', None)
    return own


def _settings(cfg: Config) -> str:
    return hashlib.sha256(cfg.pretty_text.encode()).hexdigest()


def _read(cfg: Config) -> dict[int, list] | None:
    """What a finished fold with these settings has found."""
    file = Path(cfg.work_dir) / FOLD_FILE
    found = json.loads(file.read_text()) if file.is_file() else {}
    if found.get('settings') != _settings(cfg):
        return None
    return {int(length): counts for length, counts in found['confusion'].items()}


def _train(cfg: Config) -> dict[int, list]:
    settings, judge = _settings(cfg), _Judge()
    runner = _QuietRunner.from_cfg(cfg)
    runner.register_hook(judge)
    try:
        runner.train()
    finally:
        for handler, level in runner.quiet:
            handler.setLevel(level)
    del runner
    gc.collect()  # it holds the model and the loaders in a circle
    write_json(Path(cfg.work_dir) / FOLD_FILE, dict(settings=settings, confusion=judge.found))
    return judge.found


class _Judge(Hook):
    """Keep the counts of every validation."""

    def __init__(self) -> None:
        self.found: dict[int, list] = {}

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.found[runner.iter] = runner.val_loop.evaluator.metrics[0].confusion.tolist()


class _QuietRunner(ConsoleRunner):
    """Its log goes to its file; warnings also to the console."""

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        logger = super().build_logger(*args, **kwargs)
        self.quiet = [(handler, handler.level) for handler in logger.handlers
                      if not isinstance(handler, logging.FileHandler)]
        for handler, _ in self.quiet:
            handler.setLevel(logging.WARNING)
        return logger
