"""From a config file and command-line options to a config that can run."""
import argparse
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from egmim_mm.checkpoints import read_checkpoint
from egmim_mm.checkpoints.recorded_config import take_preset_model
from egmim_mm.checks import LaunchError, check_option_names
from egmim_mm.checks.head_checks import heads_of
from egmim_mm.datasets.public import declared_metainfo
from egmim_mm.option_values import OptionAction

from .dev_part import use_dev_part
from .label_presets import apply_budget


def parse_run_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add what every tool that starts a Runner takes, and parse the command line."""
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))  # for launchers that pass it as an argument
    return args


def load_config(path: str, work_dir: str | None = None, options: dict | None = None, dev: bool = False,
                budget: str | None = None, preset: str | None = None, select: str | None = None,
                trained: str | Path | None = None) -> Config:
    """Read a config, apply the options of the command line and settle the work dir (``work_dirs/<config name>``).

    Args:
        path: Of the config.
        work_dir: See above.
        options: ``--cfg-options``.
        dev: ``--dev``, see :func:`~.dev_part.use_dev_part`.
        budget, preset: Of the same names, see :func:`~.label_presets.apply_budget`; ``options`` win.
        select: ``--select``, which goes with a budget alone; see :func:`~.preset_selection.select_preset`.
        trained: Checkpoint file that will be tested, see
            :func:`~egmim_mm.checkpoints.recorded_config.take_preset_model`.

    Raises:
        LaunchError: An option whose name nothing would read, or as the functions above.
        ValueError: A budget that cannot be had.
        CheckpointError: ``trained`` cannot be read.
    """
    cfg = Config.fromfile(path)
    if select is not None and (budget is None or preset is not None):
        raise LaunchError(f'--select {select} chooses the preset of a --budget: give a --budget, and no --preset')
    if budget is not None:
        apply_budget(cfg, budget, preset, options, dev)
    elif preset is not None:
        raise LaunchError(f'--preset {preset} says how to train with a --budget: give both')
    if trained is not None:
        take_preset_model(cfg, read_checkpoint(trained), trained)
    if options:
        check_option_names(cfg, options)
        if 'optim_wrapper.optimizer.lr' in options and 'lr_factor_from_scratch' in cfg:
            cfg.lr_factor_from_scratch = 1.0  # who gives a rate means that one
        cfg.merge_from_dict(options)
    if dev:
        use_dev_part(cfg)
    settle_schedule(cfg)
    settle_classes(cfg)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def settle_schedule(cfg: Config) -> None:
    """Turn ``begin`` and ``end`` of the schedulers from shares of the run (floats) into iterations.

    So a schedule keeps its shape when ``train_cfg.max_iters`` is changed. ``eta_min_ratio`` of a cosine needs
    no treatment; integers are left alone, and everything in a config without ``max_iters``.
    """
    loop = cfg.get('train_cfg') or {}
    if str(loop.get('type')).endswith('ReadoutLoop'):
        loop.setdefault('max_iters', 1)  # it counts like any other training
    schedulers = cfg.get('param_scheduler') or []
    schedulers = [schedulers] if 'type' in schedulers else schedulers
    max_iters = loop.get('max_iters')
    if max_iters is None or isinstance(schedulers, dict):  # a dict holds the schedulers of several optimisers
        return
    for scheduler in schedulers:
        for key in ('begin', 'end'):
            if isinstance(scheduler.get(key), float):
                scheduler[key] = round(scheduler[key] * max_iters)
    # a warm-up of less than two iterations would leave the learning rate at its start factor
    cfg.param_scheduler = [s for s in schedulers if s.get('end', float('inf')) - s.get('begin', 0) >= 2]


def settle_classes(cfg: Config) -> None:
    """Give a read-out without ``num_classes`` that of the training data: a preset that brings one does not know it."""
    classes = declared_metainfo((cfg.get('train_dataloader') or {}).get('dataset') or {}).get('classes')
    for _, head in heads_of(cfg.get('model') or {}):
        if classes and str(head.get('type')).endswith('ReadoutHead') and 'num_classes' not in head:
            head['num_classes'] = len(classes)


def settle_learning_rate(cfg: Config, from_scratch: bool) -> None:
    """Multiply the learning rate by ``lr_factor_from_scratch`` where training starts from random weights.

    Args:
        cfg: Changed in place; the factor is 1 afterwards.
        from_scratch: Whether it does.
    """
    factor = cfg.get('lr_factor_from_scratch', 1.0)
    if not from_scratch or factor == 1.0:
        return
    optimizer = cfg.optim_wrapper.optimizer
    print_log(f'Learning rate: {optimizer.lr * factor:.4g}, not {optimizer.lr:.4g}, because this run starts from '
              f'random weights (lr_factor_from_scratch={factor:g})', logger='current')
    optimizer.lr *= factor
    cfg.lr_factor_from_scratch = 1.0
