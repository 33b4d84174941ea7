"""Heads and losses of a segmentation config that would fail in the middle of a training."""
from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from egmim_mm.processes import rank_and_size

from .batch_checks import labelled_images, shares_of
from .launch_error import LaunchError

__all__ = ['check_batch', 'check_heads', 'heads_of']


def heads_of(model: dict) -> Iterator[tuple[str, dict]]:
    """(name such as ``model.auxiliary_head.1``, config) of each head of a segmentor, the cascaded ones in order."""
    for key in ('decode_head', 'auxiliary_head'):
        heads = model.get(key)
        if isinstance(heads, (list, tuple)):
            yield from ((f'model.{key}.{number}', head) for number, head in enumerate(heads))
        elif heads:
            yield f'model.{key}', heads


def check_heads(cfg: Config, losses: bool = True) -> None:
    """Refuse heads that do not belong together, and losses that the installed libraries cannot compute.

    Args:
        cfg: Of any model; one without heads passes.
        losses: Whether the losses matter, as they do in training.

    Raises:
        LaunchError: Says which setting to change.
    """
    model = cfg.get('model') or {}
    cascaded = isinstance(model.get('decode_head'), (list, tuple))
    kind = str(model.get('student') or model.get('type'))  # MeanTeacherSegmentor has the settings of its student
    if cascaded and not kind.endswith('CascadeEncoderDecoder'):
        raise LaunchError(f'model.decode_head is a list of {len(model.decode_head)}, which {kind} does not take: '
                          f"set model.type='CascadeEncoderDecoder' and model.num_stages={len(model.decode_head)}")
    if kind.endswith('CascadeEncoderDecoder') and (
            not cascaded or model.get('num_stages') != len(model.decode_head)):
        raise LaunchError('model.decode_head of a CascadeEncoderDecoder is a list with one head for each of '
                          f'num_stages={model.get("num_stages")}')
    for name, head in heads_of(model):
        outputs = head.get('out_channels') or head.get('num_classes')
        if outputs == 1 and cascaded and name.startswith('model.decode_head'):
            raise LaunchError(f'{name} has one output, and MMSegmentation has no threshold for cascaded heads: leave '
                              'out_channels out (one output per class)')
        for loss in _losses(head) if losses else ():
            _check_loss(name, loss, outputs)


def _losses(head: dict) -> list[dict]:
    losses = head.get('loss_decode') or dict(type='CrossEntropyLoss')  # the default of the heads
    return [losses] if isinstance(losses, dict) else list(losses)


def _check_loss(name: str, loss: dict, outputs: int | None) -> None:
    where, kind = f'{name}.loss_decode', str(loss.get('type')).rsplit('.', 1)[-1]
    if kind not in ('CrossEntropyLoss', 'LabelledCrossEntropyLoss'):
        return
    weights, ours = loss.get('class_weight'), f"set {where}.type='egmim_mm.LabelledCrossEntropyLoss'"
    if isinstance(weights, (list, tuple)) and outputs and len(weights) != outputs:
        raise LaunchError(f'{where}.class_weight has {len(weights)} weights, but the head has '
                          f'{outputs} output{"s" * (outputs > 1)}: give one for each')
    if outputs == 1 and not loss.get('use_sigmoid'):
        raise LaunchError(f'{name} has one output, but its {kind} compares several: set '
                          f'{where}.use_sigmoid=True')
    if kind == 'LabelledCrossEntropyLoss':
        return
    if outputs == 1:
        raise LaunchError(f"{where}: MMSegmentation's CrossEntropyLoss stops at a batch without labelled pixels when a "
                          f'head has one output: {ours}')
    if weights is not None and (loss.get('avg_non_ignore') or loss.get('use_sigmoid')):
        other = 'avg_non_ignore' if loss.get('avg_non_ignore') else 'use_sigmoid'
        raise LaunchError(f"{where}: MMSegmentation's CrossEntropyLoss fails with class_weight and {other}: {ours}")


def check_batch(cfg: Config) -> None:
    """Refuse a batch that cannot be shared out, and one image per process where batch norm sees one value per channel.

    Pyramid pooling (UPerHead, PSPHead, ASPPHead, ...) averages a whole image into one pixel and normalises it over the
    batch; of one image PyTorch refuses that in the first iteration. SyncBN counts the images of all processes.
    The config must be that of this machine (see :func:`egmim_mm.engine.device.adapt_to_device`).

    Raises:
        LaunchError: Says what to change.
    """
    processes = rank_and_size(cfg.get('launcher', 'none'))[1]
    shares = shares_of(cfg, processes)
    loader = cfg.get('train_dataloader') or {}
    images = shares.images if shares else loader.get('batch_size', 1)
    labelled = labelled_images(loader, images)
    if min(labelled, images - labelled or images) != 1:
        return
    if images > 1:
        batch = (f'{labelled} of the {images} images that a process computes at once are labelled, and both kinds are '
                 'computed apart: raise train_cfg.global_batch or max_batch_per_process')
    else:
        batch = 'train_dataloader.batch_size is 1: set it to 2 or more' if not shares else (
            f'there are {shares}: start fewer processes, raise train_cfg.max_batch_per_process or global_batch')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'), torch.device('meta'):
        for name, head in heads_of(cfg.get('model') or {}):
            index = head.get('in_index')
            # any number, if it follows from the backbone: what a head normalises does not depend on it
            width = [8] * len(index) if isinstance(index, (list, tuple)) else 8
            norms = _norms_of_one_pixel(MODELS.build(dict(in_channels=width) | dict(head)))
            if any(not isinstance(norm, nn.SyncBatchNorm) or processes == 1 for norm in norms):
                raise LaunchError(
                    f'{name} pools each image to one pixel and normalises it over the batch, so it needs 2 images per '
                    f"process, but {batch}, or {name}.norm_cfg=dict(_delete_=True, type='GN', num_groups=32)")


def _norms_of_one_pixel(head: nn.Module) -> list[nn.Module]:
    found = []
    for block in head.modules():
        pooled = False
        for part in block if isinstance(block, nn.Sequential) else ():
            if isinstance(part, nn.AdaptiveAvgPool2d):
                pooled = part.output_size in (1, (1, 1))
            elif pooled:
                found += [norm for norm in part.modules() if isinstance(norm, _BatchNorm)]
    return found
