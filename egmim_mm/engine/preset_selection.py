"""``--select cv``: the preset that does best on labelled tiles left out in turn; no other image is looked at."""
import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from egmim_mm.checks import LaunchError, check_labels
from egmim_mm.datasets.plain_tiles import without_augmentation
from egmim_mm.evaluation.confusion import segmentation_scores
from egmim_mm.processes import rank_and_size
from egmim_mm.readout import folds_of, kept_in
from egmim_mm.records.provenance import write_json
from egmim_mm.registry import DATA_SAMPLERS, DATASETS

from .label_presets import preset_names
from .readout_fitting import LabelledDataset, count_cells
from .readout_folds import judge_readouts
from .training_folds import judge_training

__all__ = ['choose_row', 'pooled_score', 'select_preset', 'tell_selection', 'usable_folds']

# mIoU by which another preset has to be better than that of the budget, times the number of labelled tiles; chosen on
# the dev part of Dubai: docs/few_labels.md
MARGIN = 5.0
WINDOW = 1024  # px, of the counting of cells
SELECTION_FILE = 'selection.json'


def select_preset(load: Callable[[str | None], Config], settle: Callable[[Config], Any],
                  resume: bool = False) -> Config:
    """The config of a run with the preset, and the length, that does best when labelled tiles are left out.

    What was compared stands in ``cfg.label_preset.selection``, and in ``select/selection.json`` of the work dir, from
    which a resumed run takes its preset.

    Args:
        load: Name of a preset (None: that of the budget) -> config with a budget, as
            :func:`~.launch.load_config` reads it.
        settle: Makes such a config ready to run: device, seed, weights.
        resume: Whether the run goes on.

    Raises:
        LaunchError: Several processes, no selection to go on with, labels or presets that cannot be compared.
    """
    cfg = load(None)
    folder = Path(cfg.work_dir) / 'select'
    if resume:
        return _with_selection(load, _recorded(folder))
    settled = copy.deepcopy(cfg)
    settle(settled)
    if rank_and_size(settled.launcher)[1] > 1:
        raise LaunchError('--select cv compares presets in one process: run it without a launcher, and give --preset '
                          'what it has taken to the run of several')
    tiles, classes = _labelled_tiles(settled)
    names = preset_names(cfg.label_presets, len(tiles.members))
    folds, known = usable_folds(count_cells(tiles, len(classes), WINDOW))
    selection = dict(method='cv', folds=[[tiles.names[tile] for tile in fold] for fold in folds], classes=[],
                     not_judged=[], candidates=[], taken=dict(name=names[0], iterations=None))
    if len(tiles.members) == 1:
        selection['why'] = 'of one labelled tile none can be left out'
    elif len(names) == 1:
        selection['why'] = 'the preset has no alternatives'
    elif not folds:
        selection['why'] = 'fewer than two classes are in a tile that is left out and in those that stay'
    else:
        rows = []
        for name, length, confusions in _judge({name: load(name) for name in names}, settle, tiles, folds, folder):
            score, judged = pooled_score(confusions, known, classes)
            rows.append(dict(name=name, iterations=length, mIoU=score))
        selection.update(classes=judged, not_judged=[name for name in classes if name not in judged], candidates=rows)
        selection['taken'], selection['why'] = choose_row(rows, names[0], len(tiles.members))
    write_json(folder / SELECTION_FILE, selection)
    return _with_selection(load, selection)


def tell_selection(cfg: Config) -> None:
    """Log what ``--select`` has compared, and what it has taken; nothing without it."""
    selection = (cfg.get('label_preset') or {}).get('selection')
    if not selection:
        return
    lines = []
    if selection.candidates:
        folds = '; '.join(', '.join(fold) for fold in selection.folds)
        lines = [f'Presets compared on labelled tiles that are left out in turn ({folds}); no other image is looked at',
                 *(f'  {_row_name(row)}: mIoU {row.mIoU:.1f}' for row in selection.candidates),
                 f'  over the classes that could be known: {", ".join(selection.classes)}']
        if selection.get('not_judged'):
            lines.append('  not judged, because no labelled tile or only those of one fold hold them: '
                         + ', '.join(selection.not_judged))
    lines.append(f'--select cv takes {_row_name(selection.taken)}: {selection.why}')
    print_log('\n'.join(lines), logger='current')


def usable_folds(counts: np.ndarray) -> tuple[list[list[int]], np.ndarray]:
    """The folds that say something.

    Args:
        counts: (N, K) labelled cells of each class in each tile.

    Returns:
        Folds whose kept tiles hold two classes or more, and whose left-out tiles one of these; and (folds, K), which
        classes the kept tiles hold. None if fewer than two classes are judged by all of them.
    """
    folds, known, judged = [], [], np.zeros(counts.shape[1], bool)
    for fold in folds_of(len(counts)):
        held, wanted = (counts[tiles].sum(0) > 0 for tiles in (kept_in(fold, len(counts)), fold))
        if held.sum() > 1 and (held & wanted).any():
            folds.append(fold)
            known.append(held)
            judged |= held & wanted
    return (folds, np.array(known)) if judged.sum() > 1 else ([], np.zeros((0, counts.shape[1]), bool))


def pooled_score(confusions: np.ndarray, known: np.ndarray, classes: Sequence[str]) -> tuple[float, list[str]]:
    """mIoU of the pixels of all folds whose class the fold could know, over the classes of these pixels.

    Args:
        confusions: (F, K, K) counts of each fold; rows are the truth.
        known: (F, K), whether the tiles that a fold has learned from hold the class.
        classes: K names.

    Returns:
        Per cent; and the names of the classes.
    """
    pooled = (confusions * known[:, :, None]).sum(0)
    judged = [name for name, pixels in zip(classes, pooled.sum(1)) if pixels]
    scores = segmentation_scores(pooled, classes)
    return float(np.mean([scores[f'IoU/{name}'] for name in judged])), judged


def choose_row(rows: Sequence[Mapping[str, Any]], preset: str, tiles: int) -> tuple[dict[str, Any], str]:
    """The best of some candidates, or the preset of the budget unless another is clearly better.

    Args:
        rows: ``name``, ``iterations`` and ``mIoU`` in per cent, the longest training of a preset last.
        preset: Name of that of the budget.
        tiles: Number of labelled tiles: the fewer, the less a difference says.

    Returns:
        ``name`` and ``iterations`` of the choice, and why.
    """
    fixed = [row for row in rows if row['name'] == preset][-1]
    best = max(rows, key=lambda row: (row['mIoU'], row is fixed))
    if best is fixed:
        taken, why = fixed, 'the preset of the budget is the best'
    elif best['mIoU'] - fixed['mIoU'] <= MARGIN / tiles:
        taken, why = fixed, ('no other is better than the preset of the budget by more than '
                             f'{MARGIN / tiles:.2g} ({MARGIN:g} divided by {tiles} tiles)')
    else:
        taken, why = best, f'it is better than the preset of the budget by {best["mIoU"] - fixed["mIoU"]:.1f}'
    return {key: taken[key] for key in ('name', 'iterations')}, why


def _labelled_tiles(cfg: Config) -> tuple[LabelledDataset, tuple[str, ...]]:
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        sampler = DATA_SAMPLERS.build(dict(cfg.train_dataloader.sampler, order_seed=0),
                                      default_args=dict(dataset=dataset))
        check_labels(dataset, sampler)
        return LabelledDataset(without_augmentation(dataset), sampler.members), dataset.metainfo['classes']


def _judge(candidates: Mapping[str, Config], settle: Callable[[Config], Any], tiles: LabelledDataset,
           folds: Sequence[Sequence[int]], folder: Path) -> list[tuple[str, int | None, np.ndarray]]:
    """(name, iterations, (F, K, K) counts) of each candidate, of one that is trained by iterations several."""
    for name, cfg in candidates.items():
        with _named(name):
            settle(cfg)
    readouts = {name: cfg for name, cfg in candidates.items() if str(cfg.train_cfg.type).endswith('ReadoutLoop')}
    judged = judge_readouts(readouts, tiles, folds)
    rows = []
    for name, cfg in candidates.items():
        if name in readouts:
            rows.append((name, None, judged[name]))
        else:
            own = folder / re.sub(r'[^\w-]+', '_', name)
            with _named(name):
                judged_training = judge_training(cfg, name, tiles.members, folds, own)
            rows += [(name, length, counts) for length, counts in judged_training.items()]
    return rows


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say in an error of settings which candidate has them: the user has written none of them."""
    try:
        yield
    except (LaunchError, ValueError) as error:
        error.args = (f"--select cv, preset '{name}': {error}", )  # in place: its traceback tells ours from the user's
        raise


def _recorded(folder: Path) -> dict[str, Any]:
    file = folder / SELECTION_FILE
    if not file.is_file():
        raise LaunchError(f'--resume --select cv: {file} is not there, which says what the run was started with: give '
                          '--preset in place of --select')
    return json.loads(file.read_text())


def _with_selection(load: Callable[[str | None], Config], selection: dict[str, Any]) -> Config:
    taken = selection['taken']
    cfg = load(taken['name'])
    cfg.label_preset.selection = ConfigDict(selection)
    if taken['iterations'] is not None:
        cfg.train_cfg.max_iters = taken['iterations']  # the schedule is that of the longer training, as it was judged
    return cfg


def _row_name(row: Mapping[str, Any]) -> str:
    return f"'{row['name']}'" + (f', {row["iterations"]} iterations' if row['iterations'] else '')
