"""Trainings with ``--budget`` whose preset is a read-out, for many choices of labelled tiles in one pass.

What ``tools/train.py`` and ``tools/test.py`` do for one choice: the same tiles, cells, classifiers and evaluation.
But the model is built once, and each test image goes through the frozen backbone once for all choices.
"""
import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from rich.progress import track
from torch import Tensor, nn

from egmim_mm.checkpoints import load_backbone
from egmim_mm.checkpoints.lineage import describe_source
from egmim_mm.checks import check_labels
from egmim_mm.datasets.plain_tiles import build_training_data, without_augmentation
from egmim_mm.datasets.samplers import LabelBudgetSampler
from egmim_mm.engine.readout_fitting import (
    FittedReadout,
    LabelledDataset,
    check_classes,
    count_cells,
    draw_cells,
    fit_groups,
    groups_of,
)
from egmim_mm.evaluation.protocol import describe_labels, describe_split, evaluated_part
from egmim_mm.evaluation.results_document import describe_evaluation, results_document
from egmim_mm.inference.frozen_backbone import SCRATCH
from egmim_mm.models import ReadoutHead
from egmim_mm.precision import autocast_for
from egmim_mm.readout import shares_of_groups
from egmim_mm.records.provenance import device_description, write_json
from egmim_mm.registry import DATASETS, MODELS

from .features_once import features_once

__all__ = ['Choice', 'classifier_settings', 'read_out', 'readout_model', 'training_precision']


class Choice(NamedTuple):
    """A label budget, and the label seed that says which tiles; or their names. ``folder`` is where its results go."""

    budget: str
    label_seed: int
    tiles: tuple[str, ...] | None = None

    @property
    def folder(self) -> str:
        return f'{self.budget.replace("%", "pct")}_seed{self.label_seed}'


def readout_model(cfg: Config, source: str, seed: int, device: str | torch.device) -> nn.Module:
    """The segmentor of a read-out config with the backbone of ``source``, in eval mode; its head is not fitted.

    Args:
        cfg: Segmentation config with a ``ReadoutHead`` and a ``ReadoutLoop``.
        source: Checkpoint or work dir; ``'scratch'``: random weights.
        seed: Of the random weights.
        device: Where it computes.

    Raises:
        ValueError: The config is no read-out.
        CheckpointError: A source that cannot be read or does not fit.
    """
    settings = copy.deepcopy(cfg.model)
    for key in ('init_cfg', 'pretrained'):  # weights named in the config would hide what is compared
        settings.backbone.pop(key, None)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build(settings)
        model.init_weights()
    if not isinstance(model.decode_head, ReadoutHead):
        raise ValueError(f'{cfg.filename}: model.decode_head is no egmim_mm.ReadoutHead; take a read-out preset of the '
                         'config (--preset) or a read-out config')
    if source != SCRATCH:
        load_backbone(model.backbone, source)
    return model.to(device).eval()


def read_out(cfg: Config, source: str, choices: Sequence[Choice], out_dir: str | Path, seed: int = 0,
             device: str | torch.device = 'cpu') -> dict[Choice, dict[str, float]]:
    """Fit the read-out of a backbone for each choice, evaluate it on the config's test part, record it as a training.

    Args:
        cfg: See :func:`readout_model`; of its sampler, strategy and unit are used.
        source: See :func:`readout_model`.
        choices: Budgets and label seeds. A choice with results of the same settings in its folder is not made again.
        out_dir: For each choice a folder with ``results.json`` and ``per_image.npz``, for ``compare``.
        seed: Of the cells, and of random weights, as ``--seed`` of a training.
        device: Where to compute.

    Returns:
        Metrics of each choice.

    Raises:
        ValueError: As :func:`readout_model`; a budget that cannot be had, labels that nothing can be learned from, or
            a folder with results of other settings.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        model = readout_model(cfg, source, seed, device)
        data = build_training_data(cfg)
        plain, weights = without_augmentation(data), None if source == SCRATCH else describe_source(source)
        made, missing, trainings = {}, [], {}
        for choice in choices:
            sampler = _sampler(cfg, data, choice)
            trainings[choice] = _describe(cfg, data, sampler, seed)
            folder = Path(out_dir, choice.folder)
            known = _recorded(folder, trainings[choice], weights, evaluated_part(cfg, 'test'))
            if known is None:
                missing.append((choice, sampler))
            else:
                made[choice] = known
        for _, sampler in missing:
            check_labels(data, sampler)
        context, start = training_precision(cfg, device), time.monotonic()
        with context():
            fitted = _fit_all(cfg, model, plain, {choice: sampler.members for choice, sampler in missing}, seed)
        fitting_s = (time.monotonic() - start) / max(1, len(missing))
        heads = {}
        for choice, found in fitted.items():
            model.decode_head.set_classifiers(found.classifiers, found.seen)
            heads[choice] = {key: value.clone() for key, value in model.decode_head.state_dict().items()}
        for choice, evaluation in _evaluate(cfg, model, heads, out_dir, context).items():
            document = results_document(
                'test', evaluation, trainings[choice], train_losses={}, backbone_source=weights, checkpoint=None,
                training_s=fitting_s, device=device_description(torch.device(device)), config=cfg.filename,
                training_ended=None, strategy='read-out')
            write_json(Path(out_dir, choice.folder, 'results.json'), document)
            made[choice] = document['metrics']
    return {choice: made[choice] for choice in choices}


def _fit_all(cfg: Config, model: nn.Module, plain: Any, members: Mapping[Choice, Sequence[int]],
             seed: int) -> dict[Choice, FittedReadout]:
    """As ``fit_readout`` for each choice, but the features of a tile are computed once for all."""
    if not members:
        return {}
    window, cells = cfg.train_cfg.get('window', 1024), cfg.train_cfg.cells
    used = sorted({member for own in members.values() for member in own})
    tiles = LabelledDataset(plain, used)
    counts = count_cells(tiles, model.decode_head.num_classes, window)
    rows = {choice: [used.index(member) for member in own] for choice, own in members.items()}
    for own in rows.values():
        check_classes(counts[own], [tiles.names[row] for row in own])
    shares, wanted = shares_of_groups(counts, list(rows.values()), cells)
    drawn = draw_cells(model, tiles, wanted, window, seed)
    groups, settings = groups_of(model.decode_head), classifier_settings(cfg)
    return {choice: fit_groups([drawn[row] for row in own], share, groups, settings)
            for (choice, own), share in track(list(zip(rows.items(), shares)), 'classifiers')}


def classifier_settings(cfg: Config) -> list[dict[str, Any]]:
    """Of each classifier of a read-out config."""
    classifiers = cfg.train_cfg.classifiers
    return [dict(one) for one in classifiers] if isinstance(classifiers, (list, tuple)) else [
        dict(classifiers)] * len(cfg.model.decode_head.groups)


def _sampler(cfg: Config, data: Any, choice: Choice) -> LabelBudgetSampler | SimpleNamespace:
    """What says which tiles are labelled, by ``members``, ``tile_names`` and ``seed``."""
    if choice.tiles is not None:
        place = {name: index for index, name in enumerate(data.tile_names)}
        if unknown := [name for name in choice.tiles if name not in place]:
            raise ValueError(f'{choice.folder} names {unknown[0]}, which is none of the {len(place)} training tiles')
        return SimpleNamespace(members=[place[name] for name in choice.tiles], tile_names=list(choice.tiles),
                               seed=choice.label_seed)
    own = cfg.train_dataloader.get('sampler') or {}
    budget = int(choice.budget) if choice.budget.isdigit() else choice.budget
    return LabelBudgetSampler(data, budget, choice.label_seed, own.get('strategy', 'class_covering'), order_seed=0,
                              unit=own.get('unit', 'tile'))


def _describe(cfg: Config, data: Any, sampler: LabelBudgetSampler | SimpleNamespace,
              seed: int) -> dict[str, Any]:
    """The training half of the protocol; two choices with the same are the same read-out of a backbone."""
    return dict(classes=list(data.metainfo['classes']), split=describe_split(cfg.train_dataloader.dataset, data),
                labels=describe_labels(None, sampler), seed=seed,
                settings=dict(model=cfg.model.to_dict(), train_cfg=cfg.train_cfg.to_dict()))


def _recorded(folder: Path, training: Mapping[str, Any], weights: Mapping[str, Any] | None,
              part: str | None) -> dict[str, float] | None:
    """Metrics that stand in the folder; None: there are none."""
    path = folder / 'results.json'
    if not path.is_file():
        return None
    document = json.loads(path.read_text())
    now = json.loads(json.dumps(dict(training=training, weights=weights and weights['sha256'], part=part)))
    before = dict(training=document['protocol']['training'], part=document['part'],
                  weights=document['backbone_source'] and document['backbone_source']['sha256'])
    if before != now:
        other = next(key for key in now if now[key] != before[key])
        raise ValueError(f'{path} is of another {other}: give another --out')
    return document['metrics']


def training_precision(cfg: Config, device: str | torch.device) -> Callable:
    """The autocast of a training of the config."""
    wrapper = cfg.get('optim_wrapper') or {}
    own = str(wrapper.get('type')).endswith('AutocastOptimWrapper')
    return lambda: autocast_for(device, wrapper.get('precision', 'auto') if own else 'float32')


def _evaluate(cfg: Config, model: nn.Module, heads: Mapping[Choice, Mapping[str, Tensor]], out_dir: str | Path,
              context: Callable) -> dict[Choice, dict[str, Any]]:
    """As :func:`~egmim_mm.evaluation.results_document.describe_evaluation`, of each head on the test part."""
    if not heads:
        return {}
    start, settings = time.monotonic(), cfg.test_dataloader.dataset
    dataset = DATASETS.build(settings)
    evaluators = {}
    for choice in heads:
        evaluators[choice] = Evaluator(cfg.test_evaluator)
        evaluators[choice].dataset_meta = dataset.metainfo
    with torch.inference_mode(), context(), features_once(model) as next_image:
        for number in track(range(len(dataset)), 'test images'):
            sample = dataset[number]
            batch = model.data_preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
            with next_image() as again:
                for choice, weights in heads.items():
                    model.decode_head.load_state_dict(weights)
                    again()
                    evaluators[choice].process(model(**batch, mode='predict'))
    found = {}
    for choice, evaluator in evaluators.items():
        metrics = evaluator.evaluate(len(dataset))
        folder = Path(out_dir, choice.folder)
        folder.mkdir(parents=True, exist_ok=True)
        found[choice] = dict(describe_evaluation(evaluator, dataset, settings, metrics, folder),
                             part=evaluated_part(cfg, 'test'), evaluation_s=(time.monotonic() - start) / len(heads))
    return found
