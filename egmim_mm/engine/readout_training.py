"""From the settings of a read-out and a loader to fitted classifiers, for a loop and the guide of a mean teacher."""
from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from egmim_mm.datasets.plain_tiles import without_augmentation
from egmim_mm.models import ReadoutHead

from .readout_fitting import CLASSIFIERS, LabelledDataset, fit_readout

__all__ = ['LOGISTIC', 'check_settings', 'fit_on_loader']

LOGISTIC = dict(type='logistic', l2=1e-2)


def _is_classifier(one: Mapping) -> bool:
    if not isinstance(one, Mapping) or one.get('type') not in CLASSIFIERS:
        return False
    _, name, most = CLASSIFIERS[one['type']]
    value = one.get(name, most)
    known = {'type', name} | ({'balanced'} if one['type'] == 'logistic' else set())
    return set(one) <= known and isinstance(value, (int, float)) and 0 < value <= most and isinstance(
        one.get('balanced', False), bool)


def check_settings(head: nn.Module, cells: int, classifiers: Mapping | Sequence[Mapping], window: int,
                   max_iters: int) -> list[Mapping]:
    """The classifier of each group of a head, from the settings of :class:`ReadoutLoop`.

    Raises:
        ValueError: As ReadoutLoop.
    """
    if not isinstance(head, ReadoutHead):
        raise ValueError('ReadoutLoop fits a ReadoutHead, and model.decode_head is none: set its '
                         "type='egmim_mm.ReadoutHead'")
    groups = len(head.groups)
    each = list(classifiers) if isinstance(classifiers, (list, tuple)) else [classifiers] * groups
    if len(each) != groups or not all(_is_classifier(one) for one in each):
        raise ValueError(f'train_cfg.classifiers is {classifiers}: give one for all or one for each of the '
                         f"{groups} groups of model.decode_head, of dict(type='logistic', l2=above 0) and "
                         "dict(type='discriminant', shrinkage=above 0, at most 1)")
    if cells < head.num_classes or window < 32 or max_iters != 1:
        raise ValueError(f'train_cfg: cells={cells} must be at least the number of classes, window={window} at '
                         f'least 32 px, and max_iters={max_iters} must be 1: everything is fitted at once')
    return each


def fit_on_loader(model: nn.Module, dataloader: DataLoader, cells: int, classifiers: Sequence[Mapping], window: int,
                  seed: int) -> Tensor:
    """Fit the read-out of a segmentor to the labelled tiles of a loader, and say so in the log.

    Of several processes the first computes, and the others get its classifiers.

    Args:
        model: Segmentor with a :class:`~egmim_mm.models.ReadoutHead`; in eval mode afterwards.
        dataloader: Its sampler may choose tiles (``members``).
        cells, classifiers, window, seed: See :func:`~egmim_mm.engine.readout_fitting.fit_readout`.

    Returns:
        (G, ) cross-entropy of each group.

    Raises:
        ValueError: As ``fit_readout``.
    """
    head = model.decode_head
    model.eval()
    losses = head.classifiers[0].bias.new_zeros(len(classifiers))
    if is_main_process():
        dataset, sampler = dataloader.dataset, dataloader.sampler
        tiles = LabelledDataset(without_augmentation(dataset), getattr(sampler, 'members', range(len(dataset))))
        fitted = fit_readout(model, tiles, cells, classifiers, window, seed)
        head.set_classifiers(fitted.classifiers, fitted.seen)
        losses.copy_(torch.tensor(fitted.losses))
        counts = ', '.join(f'{name} {count}' for name, count in zip(dataset.metainfo['classes'], fitted.cells))
        print_log(f'Read-out fitted to cells of {len(tiles.members)} tiles: {counts}; cross-entropy of each group: '
                  + ', '.join(f'{loss:.3f}' for loss in fitted.losses), logger='current')
    weights = head.state_dict()
    for tensor in (*weights.values(), losses):
        broadcast(tensor)
    head.load_state_dict(weights)  # tells those of the other processes that they are fitted
    return losses
