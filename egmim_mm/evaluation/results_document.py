"""What stands in ``results.json``, whoever writes it."""
import json
import time
from pathlib import Path
from typing import Any

from mmengine.evaluator import Evaluator

from egmim_mm.records.provenance import git_state, package_versions

from .per_image import PER_IMAGE_FILE, image_names, write_per_image
from .protocol import class_names, describe_split

__all__ = ['describe_evaluation', 'is_trained', 'results_document']


def describe_evaluation(evaluator: Evaluator, dataset: Any, dataset_cfg: dict | None,
                        metrics: dict[str, float] | None, work_dir: str | Path,
                        shuffled: bool = False) -> dict[str, Any]:
    """What an evaluation found; the counts of each image are written into the work dir.

    Args:
        evaluator: After its evaluation.
        dataset: What was evaluated.
        dataset_cfg: Its config.
        metrics: The scores.
        work_dir: Folder of ``per_image.npz``.
        shuffled: Not in the order of the data set: nobody knows which counts are those of which image.

    Returns:
        ``metrics``, ``classes``, ``split``, ``units``, ``confidence``, ``confusion`` and ``per_image``.
    """
    classes, counts = class_names(dataset), {}
    for metric in [] if shuffled else evaluator.metrics:
        counts |= getattr(metric, 'per_image', {})
    written = write_per_image(Path(work_dir) / PER_IMAGE_FILE, image_names(dataset) if counts else [], counts)
    return dict(metrics=dict(metrics or {}), classes=classes, split=describe_split(dataset_cfg, dataset),
                per_image=PER_IMAGE_FILE if written else None, **_from_evaluator(evaluator, classes))


def results_document(phase: str, evaluation: dict[str, Any], training: dict[str, Any] | None, *,
                     train_losses: dict[str, float], backbone_source: dict | None, checkpoint: dict | None,
                     training_s: float, device: dict[str, Any], config: str | None, training_ended: bool | None,
                     strategy: str | None = None) -> dict[str, Any]:
    """What stands in ``results.json``; its keys are explained at :class:`ResultsHook`.

    Args:
        phase: What wrote it.
        evaluation: Of :func:`describe_evaluation`, with ``part``, ``iteration`` and ``evaluation_s``, and of a mean
            teacher ``predicted_with``; empty before the first.
        training: Of :func:`~egmim_mm.evaluation.protocol.describe_training`.
        train_losses, backbone_source, checkpoint, device, config, training_ended, strategy: As they stand there.
        training_s: Seconds.
    """
    return dict(
        phase=phase,
        part=evaluation.get('part'),
        predicted_with=evaluation.get('predicted_with'),
        strategy=strategy,
        metrics=evaluation.get('metrics', {}),
        units=evaluation.get('units', {}),
        confidence=evaluation.get('confidence'),
        confusion=evaluation.get('confusion'),
        per_image=evaluation.get('per_image'),
        iteration=evaluation.get('iteration'),
        protocol=dict(classes=evaluation.get('classes') or (training or {}).get('classes'),
                      evaluation=evaluation.get('split'),
                      training=training),
        train_losses=train_losses,
        backbone_source=backbone_source,
        checkpoint=checkpoint,
        duration_s=dict(training=training_s, evaluation=evaluation.get('evaluation_s')),
        versions=package_versions(),
        git=git_state(),
        device=device,
        config=config,
        training_ended=training_ended,
        finished=time.strftime('%Y-%m-%dT%H:%M:%S%z'))


def is_trained(results: Path) -> bool:
    """Whether a ``results.json`` is of a training that reached its end, or of a test; False without a file."""
    if not Path(results).is_file():
        return False
    document = json.loads(Path(results).read_text())
    # None: written before this was noted
    return document['phase'] != 'val' or document.get('training_ended', True)


def _from_evaluator(evaluator: Evaluator, classes: list[str] | None) -> dict[str, Any]:
    """Units, confidence intervals and the pooled confusion matrix, from the metrics that have them."""
    units: dict[str, str] = {}
    confusion = confidence = None
    for metric in evaluator.metrics:
        prefix = f'{metric.prefix}/' if metric.prefix else ''
        units.update({prefix + key: unit for key, unit in getattr(metric, 'units', {}).items()})
        counts = getattr(metric, 'confusion', None)
        if counts is not None:
            confusion = dict(classes=classes, rows='truth', columns='prediction', counts=counts)
        bounds = getattr(metric, 'confidence', None)
        if bounds is not None:
            named = {prefix + key: interval for key, interval in bounds['intervals'].items()}
            confidence = dict(bounds, intervals=named)
    return dict(units=units, confidence=confidence, confusion=confusion)
