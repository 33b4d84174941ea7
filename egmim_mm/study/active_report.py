"""Simulated rounds of labelling as a table, JSON and curves."""
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from egmim_mm.analysis.readouts_report import plot_readouts
from egmim_mm.checkpoints.lineage import describe_source
from egmim_mm.datasets.public import declared_metainfo
from egmim_mm.evaluation.confusion import segmentation_scores
from egmim_mm.evaluation.paired import overlaps, paired_bootstrap
from egmim_mm.evaluation.protocol import evaluated_part
from egmim_mm.inference.frozen_backbone import SCRATCH
from egmim_mm.records.provenance import device_description, git_state, package_versions, write_json
from egmim_mm.records.tables import print_table

from .active_rounds import simulate_rounds
from .round_fits import Fit

__all__ = ['print_rounds', 'report_rounds']


def report_rounds(cfg: Config, source: str, counts: Sequence[int], seeds: Sequence[int], out_dir: str | Path,
                  arms: Sequence[str], seed: int = 0, device: str = 'cpu') -> dict[str, Any]:
    """:func:`~.active_rounds.simulate_rounds`; write ``active_rounds.json`` and ``active_rounds.png``.

    Returns:
        What stands in the JSON file: ``scores`` (arm -> number of tiles -> metrics of each seed), ``differences`` (arm
        -> number of tiles -> ``difference`` of the mIoU to the first arm, its 95 % ``interval`` by bootstrap over seeds
        and images, ``per_seed``; points), and the settings.

    Raises:
        ValueError: As :func:`~.active_rounds.simulate_rounds`.
    """
    made, classes = simulate_rounds(cfg, source, counts, seeds, out_dir, arms, seed, device), _classes(cfg)
    scores = {arm: {count: [segmentation_scores(fit.confusion.sum(0), classes) for fit in fits]
                    for count, fits in rounds.items()} for arm, rounds in made.items()}
    differences = {arm: {str(count): _difference(made[arms[0]][str(count)], made[arm][str(count)])
                         for count in counts[1:]} for arm in arms[1:]}
    document = dict(scores=scores, differences=differences, reference=arms[0], counts=list(counts), seeds=list(seeds),
                    seed=seed, config=cfg.filename, part=evaluated_part(cfg, 'test'),
                    source=None if source == SCRATCH else describe_source(source),
                    units='per cent, of cells of 4 x 4 px; differences: points of mIoU', versions=package_versions(),
                    git=git_state(), device=device_description(torch.device(device)))
    write_json(Path(out_dir, 'active_rounds.json'), document)
    plot_readouts(scores, Path(out_dir, 'active_rounds.png'))
    return document


def _classes(cfg: Config) -> tuple[str, ...]:
    return tuple(declared_metainfo(cfg.test_dataloader.dataset)['classes'])


def _difference(first: Sequence[Fit], second: Sequence[Fit]) -> dict[str, Any]:
    counted = [np.stack([overlaps(dict(confusion=fit.confusion))['mIoU'] for fit in fits]) for fits in (first, second)]
    scores = paired_bootstrap(*counted)
    return dict(difference=scores.difference[0], interval=[scores.low[0], scores.high[0]],
                per_seed=scores.per_seed[:, 0].tolist())


def print_rounds(document: Mapping[str, Any]) -> None:
    """A line for each number of tiles and arm."""
    cells: list = []
    for count in map(str, document['counts']):
        for arm, rounds in document['scores'].items():
            values = [metrics['mIoU'] for metrics in rounds[count]]
            spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
            gain = document['differences'].get(arm, {}).get(count)
            cells.append((count, arm, f'{statistics.fmean(values):.1f}{spread}', '' if gain is None else
                          f'{gain["difference"]:+.1f} ({gain["interval"][0]:+.1f} to {gain["interval"][1]:+.1f})',
                          ' '.join(f'{value:.1f}' for value in values)))
        cells.append(None)
    print_table(('tiles', 'chosen by'), ('mIoU', f'less {document["reference"]}, 95 % interval', 'each seed'),
                cells[:-1], title=f'Rounds of labelling, % on the {document["part"]} images; ± standard deviation '
                'over seeds')
