"""From a config file and command-line options to a config that can run."""
import argparse
import os
from pathlib import Path

from mmengine.config import Config

from egmim_mm.checks import check_option_names
from egmim_mm.option_values import OptionAction


def parse_run_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add what every tool that starts a Runner takes, and parse the command line."""
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))  # for launchers that pass it as an argument
    return args


def load_config(path: str, work_dir: str | None = None, options: dict | None = None) -> Config:
    """Read a config, apply ``--cfg-options`` and settle the work dir (``work_dirs/<config name>``).

    Raises:
        LaunchError: An option whose name nothing would read.
    """
    cfg = Config.fromfile(path)
    if options:
        check_option_names(cfg, options)
        cfg.merge_from_dict(options)
    settle_schedule(cfg)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def settle_schedule(cfg: Config) -> None:
    """Turn ``begin`` and ``end`` of the schedulers from shares of the run (floats) into iterations.

    So a schedule keeps its shape when ``train_cfg.max_iters`` is changed. ``eta_min_ratio`` of a cosine needs
    no treatment; integers are left alone, and everything in a config without ``max_iters``.
    """
    schedulers = cfg.get('param_scheduler') or []
    schedulers = [schedulers] if 'type' in schedulers else schedulers
    max_iters = (cfg.get('train_cfg') or {}).get('max_iters')
    if max_iters is None or isinstance(schedulers, dict):  # a dict holds the schedulers of several optimisers
        return
    for scheduler in schedulers:
        for key in ('begin', 'end'):
            if isinstance(scheduler.get(key), float):
                scheduler[key] = round(scheduler[key] * max_iters)
    # a warm-up of less than two iterations would leave the learning rate at its start factor
    cfg.param_scheduler = [s for s in schedulers if s.get('end', float('inf')) - s.get('begin', 0) >= 2]
