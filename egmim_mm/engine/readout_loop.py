"""The training loop that fits linear classifiers to a frozen backbone, at once and without gradients of it."""
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from egmim_mm.registry import LOOPS

from .readout_training import LOGISTIC, check_settings, fit_on_loader

__all__ = ['ReadoutLoop', 'loop_settings']


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
        runner = self.runner
        with runner.optim_wrapper.optim_context(self.model):
            losses = fit_on_loader(self.model, self.dataloader, self.cells, self.classifiers, self.window, runner.seed)
        return {f'loss_{number}': loss for number, loss in enumerate(losses)}


def loop_settings(train_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :class:`ReadoutLoop` but the first two, with its defaults."""
    given = {key: value for key, value in train_cfg.items() if key != 'type'}
    bound = inspect.signature(ReadoutLoop).bind(None, None, **given)
    bound.apply_defaults()
    return {key: value for key, value in bound.arguments.items() if key not in ('runner', 'dataloader')}
