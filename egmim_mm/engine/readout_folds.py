"""Read-outs judged on labelled tiles that are left out in turn; features of a tile serve all folds and read-outs."""
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import set_random_seed
from rich.progress import track
from torch import Tensor, nn

from egmim_mm.evaluation.confusion import confusion_matrix
from egmim_mm.inference.segmenter import usable_device
from egmim_mm.models import ReadoutHead
from egmim_mm.precision import autocast_for
from egmim_mm.readout import fold_shares, kept_in, labelled_windows
from egmim_mm.readout.cells import IGNORE
from egmim_mm.registry import MODELS

from .readout_fitting import LabelledDataset, count_cells, draw_cells, fit_groups, groups_of, normalised
from .readout_loop import loop_settings
from .readout_training import check_settings

__all__ = ['judge_readouts']


class _Candidate(NamedTuple):
    """A head, and for each group of it: numbers of the maps, and the classifier."""

    head: ReadoutHead
    parts: list[tuple[list[int], Mapping]]


def judge_readouts(configs: Mapping[str, Config], tiles: LabelledDataset,
                   folds: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """Fit read-outs to the tiles that a fold keeps, as a training of these would, and predict those it leaves out.

    Args:
        configs: Name -> config, ready to run.
        tiles: The labelled tiles, N of them.
        folds: Which of the N are left out together. The kept ones hold cells of two classes or more.

    Returns:
        For each name (folds, K, K) counts of pixels; rows are the truth.
    """
    judged = {}
    for names in _alike(configs):
        with DefaultScope.overwrite_default_scope(configs[names[0]].get('default_scope') or 'mmseg'):
            judged |= _judge_alike({name: configs[name] for name in names}, tiles, folds)
    return judged


def _alike(configs: Mapping[str, Config]) -> Iterator[list[str]]:
    """Names of read-outs of the same maps, those with ``pixel_features`` first; one without them reads the others."""
    alike: dict[str, dict[str, list[str]]] = {}
    for name, cfg in configs.items():
        model = {key: value for key, value in cfg.model.to_dict().items() if key not in ('decode_head', 'test_cfg')}
        features = model.pop('pixel_features', None)
        same = [model, loop_settings(cfg.train_cfg), _precision(cfg)]
        same[1].pop('classifiers')
        groups = alike.setdefault(json.dumps(same, sort_keys=True, default=str), {})
        groups.setdefault(json.dumps(features) if features else '', []).append(name)
    for groups in alike.values():
        without = groups.pop('', [])
        for names in groups.values():
            yield names + without
            without = []
        if without:
            yield without


def _precision(cfg: Config) -> str:
    return (cfg.get('optim_wrapper') or {}).get('precision', 'float32')


def _judge_alike(configs: Mapping[str, Config], tiles: LabelledDataset,
                 folds: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    cfg = next(iter(configs.values()))
    loop, seed = loop_settings(cfg.train_cfg), (cfg.get('randomness') or {}).get('seed') or 0
    candidates = {name: _candidate(own) for name, own in configs.items()}
    classes = next(iter(candidates.values())).head.num_classes
    shares, wanted = fold_shares(count_cells(tiles, classes, loop['window']), folds, loop['cells'])
    set_random_seed(seed)  # the random weights, if it has some, of the training
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(usable_device(None)).eval()
    device = next(model.parameters()).device
    with autocast_for(device, _precision(cfg)):
        drawn = draw_cells(model, tiles, wanted, loop['window'], seed)
    parts = [part for candidate in candidates.values() for part in candidate.parts]
    parts = [part for number, part in enumerate(parts) if part not in parts[:number]]  # several share one
    judged = {name: np.zeros((len(folds), classes, classes), np.int64) for name in configs}
    for number, (fold, share) in enumerate(zip(folds, shares)):
        fitted = fit_groups([drawn[tile] for tile in kept_in(fold, len(drawn))], share, *zip(*parts))
        for candidate in candidates.values():
            own = [fitted.classifiers[parts.index(part)] for part in candidate.parts]
            candidate.head.to(device).set_classifiers(own, fitted.seen)
        heads = {name: candidate.head for name, candidate in candidates.items()}
        for tile in track(fold, 'left-out tiles', transient=True):
            with autocast_for(device, _precision(cfg)):
                counts = _predict(model, heads, *tiles.load(tile), loop['window'])
            for name in configs:
                judged[name][number] += counts[name]
        print_log(f'Fold {number + 1} of {len(folds)}: {", ".join(map(repr, configs))} fitted without '
                  f'{", ".join(tiles.names[tile] for tile in fold)}', logger='current')
    return judged


def _candidate(cfg: Config) -> _Candidate:
    head = MODELS.build(cfg.model).decode_head
    return _Candidate(head, list(zip(groups_of(head), check_settings(head, **loop_settings(cfg.train_cfg)))))


@torch.no_grad()
def _predict(model: nn.Module, heads: Mapping[str, ReadoutHead], image: np.ndarray, labels: Tensor,
             window: int) -> dict[str, np.ndarray]:
    """(K, K) counts of one tile for each head."""
    inputs, counts = normalised(model, image), dict.fromkeys(heads, 0)
    for (rows, columns), own in labelled_windows(labels, window):
        if (own == IGNORE).all():
            continue
        maps = model.extract_feat(inputs[:, :, rows, columns])
        for name, head in heads.items():
            scores = F.interpolate(head(maps), own.shape, mode='bilinear', align_corners=head.align_corners)
            counts[name] += confusion_matrix(scores.argmax(1)[0].cpu(), own, head.num_classes).numpy()
    return counts
