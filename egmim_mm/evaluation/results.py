"""The hook that leaves ``results.json`` in the work dir of every run."""
import time
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from egmim_mm.checkpoints import run_source
from egmim_mm.records.provenance import device_description, file_sha256, plain, write_json
from egmim_mm.registry import HOOKS

from .protocol import check_same_data, describe_batch, describe_progress, describe_training, evaluated_part
from .results_document import describe_evaluation, results_document

META_KEY = 'egmim_mm'
LOSS_WINDOW = 50


@HOOKS.register_module()
class ResultsHook(Hook):
    """Write every metric of a run, and what is needed to judge it, into one JSON file.

    The file is rewritten after each evaluation and at the end of training; the last one stands. What
    a model was trained on (split, labelled tiles, seed, where its backbone came from, time) is also
    saved in the ``meta`` of each checkpoint, so a later test of that checkpoint repeats it.

    Keys of the file: ``phase`` (``'train'``, ``'val'`` or ``'test'``: what wrote it last), ``part`` (what was
    evaluated, see :func:`~egmim_mm.evaluation.protocol.evaluated_part`; None: nothing), ``predicted_with`` (of a mean
    teacher: ``student`` or ``teacher``; None: another model), ``metrics`` and
    ``units``, ``confidence`` (intervals of the metrics, and how they came about), ``confusion`` (pooled counts),
    ``per_image`` (name of the file beside it with the counts of each image, see
    :func:`~egmim_mm.evaluation.per_image.write_per_image`), ``iteration`` (of the weights the metrics belong to),
    ``protocol`` (``classes``, ``evaluation``, ``training``), ``train_losses`` (means over the
    last ``LOSS_WINDOW`` iterations), ``backbone_source`` (path, hash and ancestors of the weights the
    run started from; None means random), ``checkpoint`` (the file tested), ``duration_s``,
    ``versions``, ``git``, ``device``, ``config``, ``finished``, ``training_ended`` (None after a test),
    ``strategy`` (None: a network; ``'forest'``: of :mod:`egmim_mm.baselines`). A number
    that is undefined, such as the IoU of an absent class, is null.

    Args:
        out_file: File name inside the work dir.

    Raises:
        ValueError: A resumed run finds other training data than it began with.
    """

    # Before CheckpointHook (VERY_LOW), after the hooks that compute.
    priority = 'LOW'

    def __init__(self, out_file: str = 'results.json') -> None:
        self.out_file = out_file
        self._training: dict[str, Any] | None = None  # protocol of the training run
        self._source: dict | None = None
        self._evaluation: dict[str, Any] = {}  # its metrics, classes and split
        self._iteration: int | None = None
        self._earlier_s = 0.0  # training time before a resume
        self._train_start: float | None = None
        self._phase_start: float | None = None
        self._first_iteration = 0  # of this start
        self._ended = False

    # ---- training ----
    def before_train(self, runner: Runner) -> None:
        """Note what the run is trained on, and start the clock."""
        self._train_start = time.monotonic()
        resumed = runner._resume
        before = self._training if resumed else None
        if not resumed:
            self._source = run_source(runner.cfg, runner._load_from)
        self._training = describe_training(runner.cfg, runner.train_dataloader, runner.seed, describe_batch(runner))
        check_same_data(before, self._training)
        self._first_iteration = runner.iter

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put what the run is trained on into the checkpoint's ``meta``."""
        checkpoint['meta'][META_KEY] = plain(
            dict(training=self._training | describe_progress(runner, checkpoint['meta']['iter']),
                 backbone_source=self._source, train_s=self._train_s()))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take that over from a checkpoint that is tested or resumed."""
        meta = checkpoint.get('meta') or {}
        recorded = meta.get(META_KEY) or {}
        self._iteration = meta.get('iter')
        self._training, self._source = recorded.get('training'), recorded.get('backbone_source')
        # Weights that only start a new run bring no training time of their own.
        testing = not isinstance(runner._train_loop, BaseLoop)
        self._earlier_s = recorded.get('train_s', 0.0) if testing or runner._resume else 0.0

    def after_train(self, runner: Runner) -> None:
        """Write the file for good: the training time is known now."""
        self._ended = True
        if runner._val_loop is not None and runner.iter == self._first_iteration > 0:
            runner.val_loop.run()  # stopped in its last evaluation, and resumed
        self._evaluation.setdefault('iteration', runner.iter)
        self._write(runner, 'train' if not self._evaluation.get('metrics') else 'val')

    def _train_s(self) -> float:
        running = 0.0 if self._train_start is None else time.monotonic() - self._train_start
        return self._earlier_s + running

    # ---- evaluation ----
    def before_val_epoch(self, runner: Runner) -> None:
        self._phase_start = time.monotonic()

    def before_test_epoch(self, runner: Runner) -> None:
        self._phase_start = time.monotonic()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics of a validation."""
        self._after_evaluation(runner, runner.val_loop, 'val', metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics of a test."""
        self._after_evaluation(runner, runner.test_loop, 'test', metrics)

    def _after_evaluation(self, runner: Runner, loop, phase: str, metrics: dict[str, float] | None) -> None:
        in_training = self._train_start is not None
        dataset_cfg = (runner.cfg.get(f'{phase}_dataloader') or {}).get('dataset')
        if is_main_process():
            self._evaluation = dict(
                describe_evaluation(loop.evaluator, loop.dataloader.dataset, dataset_cfg, metrics, runner.work_dir,
                                    shuffled=getattr(loop.dataloader.sampler, 'shuffle', False)),
                part=evaluated_part(runner.cfg, phase),
                predicted_with=getattr(getattr(runner.model, 'module', runner.model), 'chosen', None),
                iteration=runner.iter if in_training else self._iteration,
                evaluation_s=time.monotonic() - self._phase_start)
        self._write(runner, phase)

    # ---- the file ----
    def _write(self, runner: Runner, phase: str) -> None:
        if is_main_process():
            write_json(Path(runner.work_dir) / self.out_file, self._document(runner, phase))

    def _document(self, runner: Runner, phase: str) -> dict[str, Any]:
        training = self._training
        if self._train_start is not None:
            training = training | describe_progress(runner, self._evaluation.get('iteration') or runner.iter)
        return results_document(
            phase, self._evaluation, training,
            train_losses=_recent_losses(runner) if self._train_start is not None else {},
            backbone_source=self._source,
            checkpoint=_identity(runner._load_from) if phase == 'test' else None,
            training_s=self._train_s(),
            device=device_description(next(runner.model.parameters()).device, get_world_size()),
            config=runner.cfg.filename,
            training_ended=self._ended if phase != 'test' else None)


def _recent_losses(runner: Runner) -> dict[str, float]:
    """Mean of each training loss over the last iterations; empty before the first."""
    scalars = runner.message_hub.log_scalars
    return {
        name[len('train/'):]: buffer.mean(LOSS_WINDOW)
        for name, buffer in scalars.items() if name.startswith('train/') and 'loss' in name
    }


def _identity(path: str | None) -> dict[str, Any] | None:
    """Path and hash of a file of weights."""
    if not path:
        return None
    return dict(path=str(path), sha256=file_sha256(path) if Path(path).is_file() else None)
