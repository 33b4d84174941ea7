"""Checkpoints of second stages: which there are, what they were trained on, and the models in them."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope

from egmim_mm.checkpoints import CheckpointError, newest_checkpoint, read_checkpoint
from egmim_mm.checkpoints.recorded_config import parse_settings
from egmim_mm.datasets.plain_tiles import spread
from egmim_mm.evaluation.results import META_KEY
from egmim_mm.inference.segmenter import load_weights
from egmim_mm.models import MeanTeacherSegmentor
from egmim_mm.registry import MODELS

from .paired_runs import PLACE

__all__ = ['Saved', 'load_saved', 'run_folders', 'saved_checkpoints', 'unlabelled_tiles']


class Saved(NamedTuple):
    """A checkpoint: its file, the iteration it was saved in, what its run was trained on, and the model."""

    path: Path
    iteration: int
    training: dict[str, Any]
    model: MeanTeacherSegmentor


def run_folders(source: str, seeds: Sequence[int] | None) -> list[Path]:
    """Work dirs (or checkpoint files) that a source stands for: one for each seed, if it holds ``{seed}``.

    Raises:
        ValueError: ``{seed}`` without seeds.
    """
    if PLACE in source and not seeds:
        raise ValueError(f'{source}: it holds {PLACE}: say which with --seeds 0 1 2')
    return [Path(source.replace(PLACE, str(seed))) for seed in (seeds if PLACE in source else [0])]


def saved_checkpoints(run: Path) -> list[Path]:
    """Checkpoints of a work dir in the order in which they were saved; a file is one.

    Raises:
        CheckpointError: There is none.
    """
    if run.is_file():
        return [run]
    numbers = {int(path.stem[5:]): path for path in run.glob('iter_*.pth') if path.stem[5:].isdigit()}
    last = newest_checkpoint(run) if run.is_dir() else None
    found = [path for _, path in sorted(numbers.items())] or ([last] if last else [])
    if not found:
        raise CheckpointError(f'{run} holds no checkpoint: give the work dir of a run of tools/train.py, or a '
                              'checkpoint file')
    return found


def load_saved(path: Path, cfg: Config) -> Saved:
    """The model of a checkpoint as its run had it, in eval mode: with its thresholds, whatever the config says now.

    Args:
        path: Of the checkpoint.
        cfg: Config of the second stage; its model is taken where the checkpoint does not say.

    Raises:
        CheckpointError: It cannot be read, is of no second stage, or does not say what it was trained on.
    """
    saved = read_checkpoint(path)
    meta = saved.get('meta') or {}
    training = (meta.get(META_KEY) or {}).get('training')
    if not training:
        raise CheckpointError(f'{path} does not say which tiles were labelled: give a checkpoint of tools/train.py')
    try:
        recorded = ConfigDict(parse_settings(meta['cfg']))
        settings, steps = recorded.model, recorded.train_cfg.max_iters
    except (AttributeError, KeyError, ValueError):
        settings, steps = cfg.model, cfg.train_cfg.max_iters
    check_second_stage(settings, cfg, f'{path} is of a run')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        model = MODELS.build(settings)
    load_weights(model, saved['state_dict'], path)
    model.set_iteration(int(meta['iter']), steps)  # how much a guide still labels
    return Saved(path, int(meta['iter']), training, model.eval())


def check_second_stage(model: Mapping[str, Any], cfg: Config, what: str) -> None:
    """Raise a CheckpointError, which begins with ``what``, if a model has no teacher."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        kind = MODELS.get(str(model.get('type')))
    if kind is None or not issubclass(kind, MeanTeacherSegmentor):
        raise CheckpointError(f'{what} without a teacher ({model.get("type")}): pseudo-labels are those of '
                              'egmim_mm.MeanTeacherSegmentor, as in configs/semi_dubai.py')


def unlabelled_tiles(data: BaseDataset, runs: Mapping[Path, Mapping[str, Any]], most: int | None,
                     name: str) -> tuple[list[int], int]:
    """Training tiles that none of the runs has labels of.

    Args:
        data: Training tiles of the config, with their masks.
        runs: File of a checkpoint -> what its run was trained on.
        most: So many of them, spread evenly over their names; None: all.
        name: Of the config, for messages.

    Returns:
        Their numbers, and how many there are in all.

    Raises:
        ValueError: Tiles without masks, other classes or tiles than a run had, no such tile, or ``most`` below 1.
    """
    if most is not None and most < 1:
        raise ValueError(f'--tiles {most}: at least 1')
    names, classes = data.tile_names, list(data.metainfo['classes'])
    if any('seg_map_path' not in data.get_data_info(number) for number in range(len(data))):
        raise ValueError(f'{name}: its training tiles have no masks (data_prefix.seg_map_path), by which pseudo-labels '
                         'are judged')
    held: set[str] = set()
    for path, training in runs.items():
        if training['classes'] != classes:
            raise ValueError(f'{path} was trained on the classes {", ".join(training["classes"] or [])}, and {name} '
                             f'has {", ".join(classes)}: give the config of that run')
        labelled = training['labels'].get('tiles')
        labelled = names if labelled is None else labelled
        number = training['split'].get('num_tiles')
        if number not in (None, len(names)) or not set(labelled) <= set(names):
            raise ValueError(f'{path} was trained on {number} tiles, and {name} has {len(names)}, or others: give the '
                             'config, --dev and --cfg-options as for that training')
        held |= set(labelled)
    left = [number for number in sorted(range(len(names)), key=names.__getitem__) if names[number] not in held]
    if not left:
        raise ValueError(f'each of the {len(names)} training tiles of {name} is labelled in one of the runs: there is '
                         'none to judge pseudo-labels by')
    return ([left[place] for place in spread(len(left), most)] if most else left), len(left)
