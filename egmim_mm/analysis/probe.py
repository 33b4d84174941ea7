"""The everyday read-out of a pretrained backbone: frozen features, a linear classifier, test mIoU.

The maps of the chosen stages are standardised per channel, upsampled bilinearly to stride 4 and
concatenated; a multinomial logistic regression is fitted on a seeded sample of the labelled cells of
the training tiles and scored on every labelled pixel of the test tiles. Nothing is tuned, so a
difference between two rows is a difference between two backbones. It takes about a minute on two cores
for 6,000 windows of 128 px and a Swin of 6 million parameters.
"""
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egmim_mm.evaluation.confusion import confusion_matrix, segmentation_scores
from egmim_mm.readout.cells import majority_labels, values_at
from egmim_mm.readout.linear import channel_statistics, fit_logistic

from .crops import crop_batches

IGNORE = 255
STRIDE = 4  # of the first stage, where the classifier works
Stages = tuple[int, ...]
Classifier = tuple[Tensor, Tensor]  # weight (K, D), bias (K,)
Cells = tuple[Tensor, Tensor, list[Tensor]]  # random keys (n,), labels (n,), features of each stage (n, C_i)


def probe(backbone: nn.Module,
          train_set: Iterable,
          test_set: Iterable,
          preprocess: Callable[[np.ndarray], Tensor],
          crop: int,
          classes: Sequence[str],
          stages: str | Sequence[Stages] = 'all',
          samples: int = 50_000,
          l2: float = 1e-3,
          batch_size: int = 32,
          seed: int = 0,
          device: str | torch.device = 'cpu') -> dict[str, dict[str, Any]]:
    """Fit a linear classifier on frozen features and test it.

    The sample is drawn uniformly, without replacement, from all labelled stride-4 cells of the training
    tiles, so classes keep their true frequencies, and the same ``seed`` gives the same cells for every
    backbone. All requested readings come from one pass over the images.

    Args:
        backbone: Maps (B, C, crop, crop) to feature maps, the first at stride 4. Left in eval mode.
        train_set: Yields (image (H, W, C) uint8, label (H, W)) with class ids or 255 (ignored).
        test_set: The same.
        preprocess: See :func:`standardizer`.
        crop: Side of the windows the backbone sees, in pixels; a multiple of 32.
        classes: Class names.
        stages: ``'all'`` (one classifier on all stages), ``'each'`` (that, and one on each stage), or
            a list of tuples of stage indices, one tuple for each classifier.
        samples: Most cells to fit on; memory is ``samples`` x channels x 4 bytes, twice.
        l2: Penalty of the classifier, see :func:`~egmim_mm.readout.linear.fit_logistic`.
        batch_size: Windows in a batch.
        seed: Seed of the sample.
        device: Where to compute.

    Returns:
        For each reading (``'all'``, ``'stage 1'`` or e.g. ``'stages 1+2'``) the scores of
        :func:`~egmim_mm.evaluation.segmentation_scores` and ``confusion``, (K, K) nested lists.

    Raises:
        ValueError: If a data set has no labelled pixel or a stage does not exist.
    """
    backbone.to(device).eval()
    num_classes = len(classes)
    batches = crop_batches(train_set, preprocess, crop, batch_size)
    features, labels = _sample(backbone, batches, num_classes, samples, seed, device)
    names = _readings(stages, len(features))

    statistics = [channel_statistics(feature) for feature in features]
    for feature, (mean, std) in zip(features, statistics):
        feature.sub_(mean).div_(std)  # in place: this is the largest tensor here
    classifiers: dict[str, Classifier] = {}
    for name, chosen in names.items():
        joined = torch.cat([features[stage] for stage in chosen], 1)
        classifiers[name] = fit_logistic(joined, labels, num_classes, l2)
        del joined

    batches = crop_batches(test_set, preprocess, crop, batch_size)
    counts = score_classifiers(backbone, batches, classifiers, num_classes, device, names, statistics)
    return {
        name: dict(segmentation_scores(count, classes), confusion=count.tolist())
        for name, count in counts.items()
    }


def _readings(stages: str | Sequence[Stages], available: int) -> dict[str, Stages]:
    """Name -> stage indices of each classifier."""
    every = tuple(range(available))
    if isinstance(stages, str):
        if stages not in ('all', 'each'):
            raise ValueError(f"stages is '{stages}': give 'all', 'each' or a list of tuples of indices")
        chosen = [every] + ([(stage, ) for stage in every] if stages == 'each' else [])
    else:
        chosen = [tuple(group) for group in stages]
    names = {}
    for group in chosen:
        if not group or not set(group) <= set(every):
            raise ValueError(f'stages {group}: the backbone returns the stages {every}')
        numbers = '+'.join(str(stage + 1) for stage in group)
        names['all' if group == every else f'stage{"s" * (len(group) > 1)} {numbers}'] = group
    return names


def feature_maps(backbone: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Feature maps, after checking that the first has stride 4."""
    maps = backbone(images)
    if maps[0].shape[-1] * STRIDE != images.shape[-1]:
        raise ValueError(f'the first feature map is {maps[0].shape[-1]} px wide for an image of '
                         f'{images.shape[-1]} px: the probe expects stride {STRIDE}')
    return maps


@torch.no_grad()  # not inference_mode: autograd refuses its tensors when the classifier is fitted
def _sample(backbone: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], num_classes: int,
            samples: int, seed: int, device: str | torch.device) -> tuple[list[Tensor], Tensor]:
    """Features of a uniform sample of the labelled cells, without knowing their number beforehand.

    Each cell draws a random key and the ``samples`` smallest keys win; a cell whose key is above the
    current limit is never stored.

    Returns:
        For each stage (N, C_i) float32, and (N,) int64 labels.
    """
    generator = torch.Generator().manual_seed(seed)
    limit, kept, pending = 1.0, None, []
    for images, targets in batches:
        cells = majority_labels(targets, num_classes)  # (B, h, w)
        keys = torch.rand(cells.shape, generator=generator, dtype=torch.float64)
        wanted = (cells != IGNORE) & (keys < limit)
        places = wanted.to(device).nonzero(as_tuple=True)
        rows = [values_at(feature.float(), wanted.shape[1:], *places)  # (n, C_i)
                for feature in feature_maps(backbone, images.to(device))]
        pending.append((keys[wanted], cells[wanted], rows))
        if sum(len(keys) for keys, _, _ in pending) > samples // 2:
            kept = _smallest(kept, pending, samples)
            limit = float(kept[0].max()) if len(kept[0]) == samples else 1.0
            pending = []
    kept = _smallest(kept, pending, samples) if pending else kept
    if kept is None or len(kept[0]) == 0:
        raise ValueError('the training tiles have no labelled pixel')
    return kept[2], kept[1].to(device)


def _smallest(kept: Cells | None, pending: list[Cells], samples: int) -> Cells:
    """Merge stored and pending cells and keep those with the smallest keys."""
    groups = ([kept] if kept is not None else []) + pending
    keys, cells = torch.cat([group[0] for group in groups]), torch.cat([group[1] for group in groups])
    order = keys.argsort()[:samples]
    features = []
    for stage in range(len(groups[0][2])):
        rows = torch.cat([group[2][stage] for group in groups])
        features.append(rows[order.to(rows.device)])
    return keys[order], cells[order], features


@torch.inference_mode()
def score_classifiers(backbone: nn.Module, batches: Iterator[tuple[Tensor, Tensor]],
                      classifiers: dict[str, Classifier], num_classes: int, device: str | torch.device,
                      names: dict[str, Stages] | None = None,
                      statistics: list[tuple[Tensor, Tensor]] | None = None) -> dict[str, Tensor]:
    """Pooled confusion matrix of each classifier at full resolution, (K, K) int64.

    A 1x1 classifier commutes with bilinear upsampling (its weights sum to 1), so each stage is
    classified at its own resolution and only K channels are upsampled.

    Args:
        backbone: See :func:`probe`.
        batches: Of :func:`~egmim_mm.analysis.crops.crop_batches`.
        classifiers: Name -> weight (K, D) and bias (K,).
        num_classes: K.
        device: Where to compute.
        names: Name -> stages that the classifier reads; None: all of them read all.
        statistics: Mean and standard deviation of each stage, which is standardised with them; None: it is not.

    Raises:
        ValueError: No labelled pixel.
    """
    counts = {name: torch.zeros(num_classes, num_classes, dtype=torch.int64) for name in classifiers}
    for images, targets in batches:
        maps = [feature.float() for feature in feature_maps(backbone, images.to(device))]
        if statistics is not None:
            maps = [(feature - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
                    for feature, (mean, std) in zip(maps, statistics)]
        for name, (weight, bias) in classifiers.items():
            chosen = names[name] if names else range(len(maps))
            widths = [maps[stage].shape[1] for stage in chosen]
            logits = bias.view(1, -1, 1, 1)
            for stage, part in zip(chosen, weight.split(widths, 1)):
                score = F.conv2d(maps[stage], part[:, :, None, None])  # (B, K, h_i, w_i)
                logits = logits + F.interpolate(score, maps[0].shape[2:], mode='bilinear',
                                                align_corners=False)
            logits = F.interpolate(logits, targets.shape[1:], mode='bilinear', align_corners=False)
            # max() finds the same index as argmax(), several times faster on CPU
            counts[name] += confusion_matrix(logits.max(1).indices.cpu(), targets, num_classes, IGNORE)
    if not any(int(count.sum()) for count in counts.values()):
        raise ValueError('the test tiles have no labelled pixel')
    return counts
