import logging
from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from egmim_mm.checks.unlabelled_checks import check_unlabelled
from egmim_mm.models import MeanTeacherSegmentor
from egmim_mm.models.terms.teachers import copy_weights
from egmim_mm.registry import HOOKS

from ..readout_loop import loop_settings
from ..readout_training import check_settings, fit_on_loader
from .both_scores import BothScores
from .step_records import read_now

_ALL = 0.999  # share of the pixels


@HOOKS.register_module()
class MeanTeacherHook(Hook):
    """Lead a training with :class:`~egmim_mm.models.MeanTeacherSegmentor`.

    It fits the guide, if there is one, tells the model the iteration, updates the teacher after each step, and warns of
    a teacher that has predicted one class alone for long: the student then learns nothing else from unlabelled images.
    In validations on images that are not those of the test it scores both student and teacher (``student/mIoU``,
    ``teacher/mIoU`` ... in the log), and with ``model.predict_with='auto'`` the better predicts from then on, in
    checkpoints too.

    Args:
        allow_test_tiles: Let images of the test and validation be among the unlabelled ones, of which the model then
            knows everything but the labels.
        patience: Steps in a row with one predicted class after which it warns.
        score: Metric of the validation by which student and teacher are compared; a higher one is better.

    Raises:
        ValueError: Before training: another model, or a sampler without unlabelled samples.
        LaunchError: Before training: images of the test among the unlabelled ones.
    """

    priority = 'HIGHEST'  # the metrics of the better are those that the other hooks see

    def __init__(self, allow_test_tiles: bool = False, patience: int = 100, score: str = 'mIoU') -> None:
        self.allow_test_tiles, self.patience, self.score = allow_test_tiles, patience, score
        self._scores: BothScores | None = None

    def before_train(self, runner: Runner) -> None:
        """Look at model and data."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        sampler, dataset = runner.train_dataloader.sampler, runner.train_dataloader.dataset
        if not isinstance(model, MeanTeacherSegmentor):
            raise ValueError('MeanTeacherHook leads egmim_mm.MeanTeacherSegmentor, and the model is '
                             f'{type(model).__name__}: leave the hook out, or set model.type')
        if not hasattr(sampler, 'unlabelled_members'):
            raise ValueError('MeanTeacherSegmentor needs unlabelled samples, and train_dataloader.sampler is '
                             f"{type(sampler).__name__}: set its type='egmim_mm.MixedLabelBudgetSampler'")
        if not self.allow_test_tiles:
            check_unlabelled(dataset, sampler.unlabelled_members, runner.cfg)
        self._model, self._kept, self._steps = model, [], 0
        self._scores = BothScores(runner, model, self.score)
        model.classes = tuple(dataset.metainfo['classes'])
        if model.guide is not None and not model.guide.fitted:
            self._fit_guide(runner, model)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        self._model.set_iteration(runner.iter, runner.max_iters)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Update the teacher; when the log is written look whether it still tells classes apart."""
        self._model.update_teacher()
        self._kept.append(outputs['top_class'])
        if read_now(self, runner):
            kept, self._kept = self._kept, []
            self._watch(kept, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        if self._scores:
            self._scores.begin(runner)

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: dict | None = None,
                       outputs: Sequence | None = None) -> None:
        if self._scores:
            self._scores.add(runner, data_batch)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self._scores:
            self._scores.finish(runner, metrics)

    @staticmethod
    def _fit_guide(runner: Runner, model: MeanTeacherSegmentor) -> None:
        segmentor = model.guide.segmentor
        copy_weights(segmentor.backbone, model.student.backbone)
        settings = loop_settings(model.guide.settings)
        settings['classifiers'] = check_settings(segmentor.decode_head, **settings)
        settings.pop('max_iters')
        with runner.optim_wrapper.optim_context(segmentor):
            fit_on_loader(segmentor, runner.train_dataloader, seed=runner.seed, **settings)

    def _watch(self, shares: list[Tensor], iteration: int) -> None:
        for share in torch.stack(shares).tolist():
            self._steps = self._steps + 1 if share >= _ALL else 0
            if self._steps == self.patience:
                print_log(f'The teacher has predicted one class alone for {self.patience} steps (iteration '
                          f'{iteration}): it has collapsed, and unlabelled images teach that class only. Train longer '
                          'on labels first (load_from a supervised run), weigh the classes '
                          '(egmim_mm.ClassWeightsHook), or lower model.weight', logger='current',
                          level=logging.WARNING)
