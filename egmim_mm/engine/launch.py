"""From a config file and command-line options to a Runner, with or without a GPU."""
import argparse
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner

from egmim_mm.checkpoints import CheckpointError, describe_source
from egmim_mm.checkpoints.mmengine_loading import load_weights_only
from egmim_mm.datasets.public import declared_metainfo
from egmim_mm.environment import EnvironmentProblem
from egmim_mm.storage.tile_reading import TileReadError

_TO_FILE_ONLY = ('Config:\n', '\n' + '-' * 60, 'Hooks will be executed', 'paramwise_options',
                 '"FileClient" will be', '"HardDiskBackend" is')


class LaunchError(RuntimeError):
    """A command that contradicts itself or would overwrite an earlier run."""


def parse_run_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add what every tool that starts a Runner takes, and parse the command line."""
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))  # for launchers that pass it as an argument
    return args


def load_config(path: str, work_dir: str | None = None, options: dict | None = None) -> Config:
    """Read a config, apply ``--cfg-options`` and settle the work dir (``work_dirs/<config name>``)."""
    cfg = Config.fromfile(path)
    if options:
        cfg.merge_from_dict(options)
    settle_schedule(cfg)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def settle_schedule(cfg: Config) -> None:
    """Turn ``begin`` and ``end`` of the schedulers from shares of the run (floats) into iterations.

    So a schedule keeps its shape when ``train_cfg.max_iters`` is changed. ``eta_min_ratio`` of a cosine needs
    no treatment; integers are left alone.
    """
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers:
        for key in ('begin', 'end'):
            if isinstance(scheduler.get(key), float):
                scheduler[key] = round(scheduler[key] * cfg.train_cfg.max_iters)
    # a warm-up of less than two iterations would leave the learning rate at its start factor
    cfg.param_scheduler = [s for s in schedulers if s.get('end', float('inf')) - s.get('begin', 0) >= 2]


def start_or_resume(cfg: Config,
                    resume: None | str | bool = None,
                    backbone: str | None = None,
                    allow_partial: bool = False,
                    trust: bool = False) -> None:
    """Set up one of: a new run, a new run from backbone weights, an interrupted run that goes on.

    Args:
        cfg (Config): Changed in place.
        resume (str | bool, optional): True = the newest checkpoint of the work dir, or a checkpoint file.
        backbone (str, optional): Checkpoint, work dir of another run, or URL.
        allow_partial (bool): Accept a backbone of which less than 99 % fits.
        trust (bool): Unpickle everything in ``resume`` and ``backbone``.

    Raises:
        LaunchError: Both at once, the work dir holds a run that would be overwritten, or the model has an anchor
            and no weights to start from.
        CheckpointError: ``backbone`` cannot be read.
    """
    if resume and backbone:
        raise LaunchError('--resume goes on with an interrupted run, --backbone starts a new one from these weights: '
                          'give one of them')
    if allow_partial and not backbone:
        raise LaunchError('--allow-partial is about --backbone, which is not given')
    cfg.trust_checkpoint = trust
    if resume:
        cfg.resume = True
        cfg.load_from = resume if isinstance(resume, str) else None
        if cfg.load_from and not Path(cfg.load_from).is_file():
            raise LaunchError(f'--resume {resume}: no such checkpoint file')
        if not cfg.load_from and not (Path(cfg.work_dir) / 'last_checkpoint').is_file():
            raise LaunchError(f'--resume: {cfg.work_dir} holds no checkpoint to go on from. Leave --resume out to '
                              'start the run (again with --backbone, if it began so)')
        return
    if (Path(cfg.work_dir) / 'last_checkpoint').exists():
        raise LaunchError(f'{cfg.work_dir} holds the checkpoints of an earlier run: add --resume to go on with it, '
                          'or give another --work-dir')
    if backbone:
        cfg.backbone_source = describe_source(backbone, trust)
        options = dict(allow_partial=True) if allow_partial else {}
        options |= dict(trust=True) if trust else {}
        cfg.model.backbone.init_cfg = dict(
            type='egmim_mm.BridgedCheckpoint', source=cfg.backbone_source.path, **options)
    if cfg.model.get('anchor') is not None:
        _check_anchor(cfg.model.backbone)


def _check_anchor(backbone: dict) -> None:
    starts = backbone.get('init_cfg') or []
    starts = [starts] if isinstance(starts, dict) else starts
    if not any(start.get('source') or start.get('checkpoint') for start in starts):
        raise LaunchError('model.anchor holds the backbone near the weights it starts from, and these would be random: '
                          'give --backbone (or model.backbone.init_cfg with a checkpoint), or set model.anchor=None')


def adapt_to_device(cfg: Config, launcher: str = 'none', amp: bool = False) -> None:
    """Make a config run on what is there. Without a GPU: gloo, no SyncBN, full precision."""
    cfg.launcher = launcher
    if amp and cfg.get('optim_wrapper'):
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('dtype', 'bfloat16')
    wrapper = cfg.get('optim_wrapper')
    if wrapper and wrapper.type == 'AmpOptimWrapper' and not torch.cuda.is_available():
        print_log('No GPU: mixed precision is off, training in float32', logger='current')
        wrapper.type = 'OptimWrapper'
    if wrapper and wrapper.type == 'OptimWrapper':
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            wrapper.pop(key, None)
    if torch.cuda.is_available():
        return
    _replace_type(cfg._cfg_dict, 'SyncBN', 'BN')
    if launcher != 'none':
        cfg.env_cfg.dist_cfg = dict(backend='gloo')
        # DDP must not be handed a device id
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
        if not torch.distributed.is_initialized():
            # MMEngine's launcher would call torch.cuda.set_device; it leaves a ready process group alone
            torch.distributed.init_process_group('gloo')


def _replace_type(node, old: str, new: str) -> None:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ()
    if isinstance(node, dict) and node.get('type') == old:
        node['type'] = new
    for value in values:
        _replace_type(value, old, new)


def check_classes(cfg: Config) -> None:
    """Compare the number of classes of the heads with that of the data.

    Raises:
        LaunchError: They differ.
    """
    for loader in ('train_dataloader', 'test_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        classes = declared_metainfo(dataset).get('classes')
        for head in ('decode_head', 'auxiliary_head'):
            number = (cfg.model.get(head) or {}).get('num_classes')
            if classes and number and number != len(classes):
                raise LaunchError(f'model.{head}.num_classes is {number}, but the data has {len(classes)} classes '
                                  f'({", ".join(classes)}): set num_classes to {len(classes)}')


@contextmanager
def user_errors() -> Iterator[None]:
    """End a tool with one line, ``Error: ...``, for mistakes in a command, a config or the data.

    These are our own error types, missing files and packages, and every ValueError or TypeError that this package
    raises about its arguments; its messages say what to do. Anything else is a fault of the program and keeps its
    traceback.
    """
    try:
        yield
    except (LaunchError, CheckpointError, TileReadError, EnvironmentProblem, FileNotFoundError,
            FloatingPointError) as error:
        sys.exit(f'Error: {_last_message(error)}')
    except (ValueError, TypeError) as error:
        *_, last = traceback.walk_tb(error.__traceback__)
        if not Path(last[0].f_code.co_filename).is_relative_to(Path(__file__).parents[1]):
            raise
        sys.exit(f'Error: {error}')


def _last_message(error: Exception) -> str:
    # a loader's worker puts its whole traceback before the message
    return str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].rstrip()


class ConsoleRunner(Runner):
    """MMEngine's Runner, with the dumps of environment, config and hooks kept to the log file.

    It reads checkpoints without running code in them, unless the config has ``trust_checkpoint=True``.
    """

    def __init__(self, *args, cfg: Config | None = None, **kwargs) -> None:
        load_weights_only(trust=bool((cfg or {}).get('trust_checkpoint', False)))
        super().__init__(*args, cfg=cfg, **kwargs)

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: not record.getMessage().startswith(_TO_FILE_ONLY))
        return logger

    def load_checkpoint(self, filename: str, map_location='cpu', strict: bool = False, **kwargs) -> dict:
        """As MMEngine's, but a test refuses weights that do not fit: it would score a random head."""
        testing = not isinstance(self._train_loop, BaseLoop)
        try:
            checkpoint = super().load_checkpoint(filename, map_location, strict=strict or testing, **kwargs)
        except CheckpointError:
            raise
        except RuntimeError as error:
            if not testing:
                raise
            raise CheckpointError(f"{filename} does not hold the weights of this config's model (a pretraining "
                                  f'checkpoint, or another arch or number of classes?). {error}') from error
        if self._resume:
            _check_resumable(filename, checkpoint)
        return checkpoint


def _check_resumable(filename: str, checkpoint: dict) -> None:
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys() or 'message_hub' not in checkpoint:
        raise CheckpointError(f'{filename} is not the checkpoint of a run that can go on: it holds weights only. '
                              'To start a new run from them, use --backbone')
    # MMEngine would execute this text as a config file, only to look for a key that no config has
    meta.pop('config', None)
