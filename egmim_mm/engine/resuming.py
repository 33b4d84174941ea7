"""Whether and how an interrupted run can go on."""
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from egmim_mm.checkpoints import CheckpointError, newest_checkpoint, read_checkpoint
from egmim_mm.checks import LaunchError
from egmim_mm.evaluation.results import META_KEY
from egmim_mm.evaluation.results_document import is_trained
from egmim_mm.processes import rank_and_size

from .launch import settle_learning_rate
from .recorded_settings import Change, compare_settings


def set_up_resume(cfg: Config, resume: str | bool, trust: bool = False) -> str | None:
    """Make a config go on with the run in its work dir.

    Args:
        cfg: As it will be run; changed in place.
        resume: True = the newest checkpoint of the work dir, or a checkpoint file.
        trust: Unpickle everything in it.

    Returns:
        One line for the user if the run is finished, so that there is nothing to do; else None.

    Raises:
        LaunchError: No checkpoint, or settings that a run must keep have changed.
        CheckpointError: It cannot be read, or is none of a run that can go on.
    """
    path = _checkpoint(cfg, resume)
    cfg.resume, cfg.load_from = True, str(path)
    checkpoint = read_checkpoint(path, trust)
    check_resumable(path, checkpoint)
    meta = checkpoint['meta']
    recorded = meta.get(META_KEY) or {}
    if 'backbone_source' in recorded:
        settle_learning_rate(cfg, from_scratch=recorded['backbone_source'] is None)
    if finished := _finished(cfg, meta):
        return finished
    refused = [*(change for change in changes_since(meta, cfg) if change.is_refused), *_batch_change(meta, cfg)]
    if refused:
        more = f' (and {len(refused) - 2} more)' if len(refused) > 2 else ''
        raise LaunchError(f'--resume: {"; ".join(map(str, refused[:2]))}{more}. A run keeps its model, data, batch, '
                          'seed and kind of optimizer: give what it began with, or start a new run in another '
                          '--work-dir')
    for part in (cfg.model, cfg.model.get('backbone') or {}):
        part.pop('init_cfg', None)  # the weights come from the checkpoint; those it began with may be gone
    return None


def checkpoint_folder(cfg: Config) -> Path:
    """Where a run saves its checkpoints: its work dir, or a folder of that name in ``out_dir`` of the hook."""
    out_dir = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir')
    return Path(out_dir, Path(cfg.work_dir).name) if out_dir else Path(cfg.work_dir)


def _checkpoint(cfg: Config, resume: str | bool) -> Path:
    if isinstance(resume, str):
        if not Path(resume).is_file():
            raise LaunchError(f'--resume {resume}: no such checkpoint file')
        return Path(resume)
    folder = checkpoint_folder(cfg)
    newest = newest_checkpoint(folder)
    if newest is None and (folder / 'last_checkpoint').is_file():
        raise LaunchError(f'--resume: {folder} holds neither the checkpoint that its last_checkpoint names nor a '
                          'last.pth: copy it there, or give a checkpoint file')
    if newest is None:
        raise LaunchError(f'--resume: {folder} holds no checkpoint to go on from. Leave --resume out to '
                          'start the run (again with --backbone, if it began so)')
    return newest


def check_resumable(path: str | Path, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint of weights alone, and make the rest safe for MMEngine.

    Raises:
        CheckpointError: It lacks what a run needs to go on.
    """
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys() or 'message_hub' not in checkpoint:
        raise CheckpointError(f'{path} is not the checkpoint of a run that can go on: it holds weights only. '
                              'To start a new run from them, use --backbone')
    # MMEngine would execute this text as a config file, only to look for a key that no config has
    meta.pop('config', None)


def changes_since(meta: dict[str, Any], cfg: Config) -> list[Change]:
    """Settings of a training that have changed since a checkpoint; none where they were not recorded."""
    try:
        return compare_settings(meta['cfg'], cfg.pretty_text)
    except (KeyError, ValueError):
        print_log('The checkpoint does not say with which settings it was trained: they are not compared',
                  logger='current')
        return []


def _batch_change(meta: dict[str, Any], cfg: Config) -> list[Change]:
    training = (meta.get(META_KEY) or {}).get('training') or {}
    before = training.get('global_batch', training.get('batch_size'))  # batch_size: of earlier versions
    processes = rank_and_size(cfg.get('launcher', 'none'))[1]
    now, name = (cfg.get('train_cfg') or {}).get('global_batch'), 'train_cfg.global_batch'
    if now is None:
        own = (cfg.get('train_dataloader') or {}).get('batch_size')
        now = own and own * processes * (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
        name = 'the batch over all processes (train_dataloader.batch_size x processes)'
    return [Change(name, before, now)] if before and now and before != now else []


def _finished(cfg: Config, meta: dict[str, Any]) -> str | None:
    unit = 'epochs' if cfg.train_cfg.get('max_epochs') else 'iters'
    done, length = meta['epoch' if unit == 'epochs' else 'iter'], cfg.train_cfg[f'max_{unit}']
    hook = (cfg.get('default_hooks') or {}).get('results')
    results = Path(cfg.work_dir) / ((hook or {}).get('out_file') or 'results.json')
    if done < length or hook and not is_trained(results):
        return None
    said = f'{cfg.work_dir} is finished: {done} of {length} {unit}, nothing was changed.'
    longer = f' To train longer, add --cfg-options train_cfg.max_{unit}=N'
    return said if str(cfg.train_cfg.get('type')).endswith('ReadoutLoop') else said + longer
