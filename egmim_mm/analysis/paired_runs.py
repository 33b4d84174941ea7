"""Runs that are compared: what their work dirs hold, checked so that only like is compared with like."""
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egmim_mm.evaluation.paired import overlaps
from egmim_mm.evaluation.per_image import PER_IMAGE_FILE, read_per_image

__all__ = ['Run', 'check_pair', 'overlaps_of', 'read_runs']

PLACE, PRETRAINING = '{seed}', '{pretraining}'


class Run(NamedTuple):
    """A tested model: its folder, its ``results.json``, and the counts of each image (see ``read_per_image``)."""

    work_dir: Path
    results: dict[str, Any]
    names: list[str]
    counts: dict[str, np.ndarray]

    @property
    def classes(self) -> list[str]:
        return self.results['protocol']['classes']

    @property
    def tiles(self) -> list[str] | None:
        """The labelled tiles it was trained on, sorted; None: all, or not known."""
        tiles = ((self.results['protocol'].get('training') or {}).get('labels') or {}).get('tiles')
        return tiles and sorted(tiles)


def read_runs(source: str, seeds: Sequence[int] | None, pretrainings: Sequence[int] | None = None) -> list[Run]:
    """The run of a work dir, or one run for each seed of a path that holds ``{seed}``, for each pretraining in turn.

    A path without ``{pretraining}`` stands for each of them: a forest, say, is the same whatever was pretrained.

    Raises:
        FileNotFoundError: A folder without ``results.json`` or ``per_image.npz``.
        ValueError: ``{seed}`` without seeds or the reverse, ``{pretraining}`` without numbers, or files of two
            evaluations.
    """
    if (PLACE in source) != bool(seeds):
        raise ValueError(f'{source}: ' + ('it holds {seed}: say which with --seeds 0 1 2' if PLACE in source else
                                          '--seeds is given: write {seed} where the number stands in the path'))
    if PRETRAINING in source and not pretrainings:
        raise ValueError(f'{source}: it holds {PRETRAINING}: say which with --pretraining-seeds 0 1 2')
    paths = [source.replace(PRETRAINING, str(one)).replace(PLACE, str(seed))
             for one in pretrainings or [''] for seed in seeds or ['']]
    read = {path: _read_run(Path(path)) for path in dict.fromkeys(paths)}
    return [read[path] for path in paths]


def _read_run(folder: Path) -> Run:
    path = folder / 'results.json'
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist: give work dirs of tools/train.py, tools/test.py or '
                                'tools/baseline.py')
    results = json.loads(path.read_text())
    names, counts = read_per_image(folder / PER_IMAGE_FILE)
    if 'confusion' not in counts or not results.get('confusion'):
        raise ValueError(f'{folder}: its evaluation has no confusion matrix: the config needs '
                         'egmim_mm.SegmentationMetric')
    if not np.array_equal(counts['confusion'].sum(0), results['confusion']['counts']):
        raise ValueError(f'{folder}: results.json and {PER_IMAGE_FILE} are of two evaluations: test the checkpoint '
                         'again with tools/test.py')
    return Run(folder, results, names, counts)


def check_pair(first: Run, second: Run) -> None:
    """Raise a ValueError unless both runs were judged by the same labels of the same images."""
    here, there = first.work_dir, second.work_dir
    if first.classes != second.classes:
        raise ValueError(f'{here} has the classes {first.classes} and {there} has {second.classes}: only runs with the '
                         'same classes in the same order can be compared')
    parts = [run.results.get('part') for run in (first, second)]
    if None not in parts and parts[0] != parts[1]:  # None: written before this was noted
        raise ValueError(f'{here} was judged on the {parts[0]} part and {there} on the {parts[1]} part: judge both on '
                         'the same, with --dev for both or for none')
    if set(first.names) != set(second.names):
        other = min(set(first.names) ^ set(second.names))
        raise ValueError(f'{here} was tested on {len(first.names)} images and {there} on {len(second.names)}; {other} '
                         'is in one of them alone: test both on the same images')
    truths = [run.counts['confusion'][_order(run, first.names)].sum(2) for run in (first, second)]
    differ = np.flatnonzero((truths[0] != truths[1]).any(1))
    if differ.size:
        raise ValueError(f'{here} and {there} were tested with different labels of {first.names[differ[0]]} and '
                         f'{differ.size - 1} more images: test both with the same masks and ignored values')


def _order(run: Run, names: Sequence[str]) -> list[int]:
    place = {name: index for index, name in enumerate(run.names)}
    return [place[name] for name in names]


def overlaps_of(runs: Sequence[Run], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Measures that all runs have -> (S, N, 2, K), the images in the order of ``names``."""
    each = [overlaps(run.counts) for run in runs]
    return {key: np.stack([counts[key][_order(run, names)] for run, counts in zip(runs, each)])
            for key in each[0] if all(key in counts for counts in each)}
