"""The training loop that fits linear classifiers to a frozen backbone, at once and without gradients of it."""
from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from egmim_mm.datasets.plain_tiles import without_augmentation
from egmim_mm.models import ReadoutHead
from egmim_mm.registry import LOOPS

from .readout_fitting import CLASSIFIERS, LabelledDataset, fit_readout

__all__ = ['ReadoutLoop', 'check_settings']

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


@LOOPS.register_module()
class ReadoutLoop(BaseLoop):
    """Fit the classifiers of :class:`~egmim_mm.models.ReadoutHead` to the labelled tiles: a training of one iteration.

    The backbone is frozen and in eval mode, and computes in the precision of ``optim_wrapper``, of which nothing else
    is used. Whole tiles are read as the training pipeline loads them, without what follows its ``Load...`` steps.
    Nothing is random but the choice of cells, which depends on the seed of the run and on the labels. Of several
    processes the first computes, and the others get its classifiers.

    Args:
        runner: MMEngine's.
        dataloader: The loader, or its config; its sampler may choose tiles (``members``).
        cells: Most cells of 4 x 4 px, as many of each class. Memory: about cells x channels x 8 bytes.
        classifiers: Of each group of the head, or one for all: ``dict(type='logistic', l2=...)``, see
            :func:`~egmim_mm.readout.fit_logistic`, with ``balanced=True`` if the labels are so few that classes have
            unequal numbers of cells, or ``dict(type='discriminant', shrinkage=...)``, see
            :func:`~egmim_mm.readout.fit_discriminant`.
        window: Side of what is computed at once, px; smaller tiles are computed whole.
        max_iters: 1.

    Attributes:
        fits_at_once: There are no steps of an optimizer to count.

    Raises:
        ValueError: Settings out of range, or a head that is no ReadoutHead. When it runs: labels of fewer than two
            classes, or tiles with different numbers of bands.
    """

    fits_at_once = True

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, cells: int = 20_000,
                 classifiers: Mapping | Sequence[Mapping] = LOGISTIC, window: int = 1024, max_iters: int = 1) -> None:
        super().__init__(runner, dataloader)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        each = check_settings(getattr(model, 'decode_head', None), cells, classifiers, window, max_iters)
        self.model, self.cells, self.classifiers, self.window = model, cells, each, window
        self._iter = self._epoch = 0
        self.max_iters = self.max_epochs = 1
        runner.visualizer.dataset_meta = self.dataloader.dataset.metainfo

    @property
    def iter(self) -> int:
        """1 when the classifiers are fitted, else 0."""
        return self._iter

    @property
    def epoch(self) -> int:
        """0, as in MMEngine's loops that count iterations."""
        return self._epoch

    def run(self) -> torch.nn.Module:
        """Fit, save, evaluate; of a run that was resumed after the fit nothing is left to do."""
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        if self._iter < self.max_iters:
            runner.call_hook('before_train_iter', batch_idx=0, data_batch=None)
            outputs = self._fit()
            runner.call_hook('after_train_iter', batch_idx=0, data_batch=None, outputs=outputs)
            self._iter = 1
            if runner.val_loop is not None:
                runner.val_loop.run()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def _fit(self) -> dict[str, torch.Tensor]:
        """Losses for the log."""
        head = self.model.decode_head
        self.model.eval()
        losses = head.classifiers[0].bias.new_zeros(len(self.classifiers))
        if is_main_process():
            losses.copy_(torch.tensor(self._fit_here()))
        weights = head.state_dict()
        for tensor in (*weights.values(), losses):
            broadcast(tensor)
        head.load_state_dict(weights)  # tells those of the other processes that they are fitted
        return {f'loss_{number}': loss for number, loss in enumerate(losses)}

    def _fit_here(self) -> list[float]:
        dataset, sampler = self.dataloader.dataset, self.dataloader.sampler
        tiles = LabelledDataset(without_augmentation(dataset), getattr(sampler, 'members', range(len(dataset))))
        with self.runner.optim_wrapper.optim_context(self.model):
            fitted = fit_readout(self.model, tiles, self.cells, self.classifiers, self.window, self.runner.seed)
        self.model.decode_head.set_classifiers(fitted.classifiers, fitted.seen)
        counts = ', '.join(f'{name} {count}' for name, count in zip(dataset.metainfo['classes'], fitted.cells))
        losses = ', '.join(f'{loss:.3f}' for loss in fitted.losses)
        self.runner.logger.info(f'Read-out fitted to cells of {len(tiles.members)} tiles: {counts}; cross-entropy of '
                                f'each group: {losses}')
        return fitted.losses
