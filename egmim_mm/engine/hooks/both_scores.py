import copy
import logging

from mmengine.logging import print_log
from mmengine.runner import Runner, autocast

from egmim_mm.evaluation.protocol import evaluated_part
from egmim_mm.models import MeanTeacherSegmentor
from egmim_mm.models.segmentors import PARTS

from .checkpointing import SafeCheckpointHook

__all__ = ['BothScores']

_WHY_NOT = {
    None: 'there is no validation, in which it would be compared with the student',
    'test': 'the validation is on the images of the test, on which nothing is chosen'
}


class BothScores:
    """Scores of student and teacher in each validation of a training, of one pass over its images; the better predicts.

    Nothing is scored or chosen on the images of the test. What was found stands in the message hub, and so in
    checkpoints, as ``predictor``: ``network`` (``student`` or ``teacher``), ``chosen_on`` (``dev`` or ``val``; None:
    not chosen), and of the last validation ``score`` (its name), ``student`` and ``teacher`` (theirs), ``iteration``.

    Args:
        runner: At the begin of its training.
        model: Without a wrapper.
        score: Metric by which they are compared.
    """

    def __init__(self, runner: Runner, model: MeanTeacherSegmentor, score: str) -> None:
        self.model, self.score = model, score
        self.part = evaluated_part(runner.cfg, 'val') if runner.val_loop is not None else None
        self.runs = self.part in ('dev', 'val')
        if not runner._resume:
            model.choose('teacher')
            runner.message_hub.update_info('predictor', dict(network=model.chosen, chosen_on=None))
        if model.predict_with != 'auto':
            line = f'The {model.chosen} predicts, as model.predict_with says'
        elif self.runs:
            line = f'Of student and teacher that with the higher {score} on the {self.part} images predicts'
        else:
            line = (f'The {model.chosen} predicts: {_WHY_NOT[self.part]}; with --dev, or a val_dataloader of its own '
                    'images, the better of student and teacher would')
        print_log(line, logger='current')

    def begin(self, runner: Runner) -> None:
        """Before a validation."""
        if self.runs and not hasattr(self, '_evaluators'):
            self._evaluators = {part: copy.deepcopy(runner.val_loop.evaluator) for part in PARTS}
        if self.runs:
            runner.val_loop.evaluator = self._evaluators[self.model.chosen]

    def add(self, runner: Runner, data_batch: dict) -> None:
        """After the one that predicts has seen a batch: show it to the other."""
        if self.runs:
            with autocast(enabled=runner.val_loop.fp16):
                samples = self.model.predictions(self._other(), data_batch)
            self._evaluators[self._other()].process(data_samples=samples, data_batch=data_batch)

    def finish(self, runner: Runner, metrics: dict[str, float]) -> None:
        """After a validation: choose, log, save.

        Args:
            runner: Its newest checkpoint, if it is of this iteration, is saved again.
            metrics: Of the one that has predicted; replaced by those of the better.
        """
        if not self.runs:
            return
        before, other = self.model.chosen, self._other()
        print_log(f'The {other} on the same images:', logger='current')
        size = len(runner.val_loop.dataloader.dataset)
        scores = {before: dict(metrics), other: self._evaluators[other].evaluate(size)}
        for part, own in scores.items():
            for name in (name for name in own if '/' not in name):  # the means over classes
                runner.message_hub.update_scalar(f'val/{part}/{name}', own[name])
        if self.score not in metrics:
            print_log(f'Student and teacher cannot be compared: the validation gives no {self.score} but '
                      f'{", ".join(name for name in metrics if "/" not in name)}; set score= of '
                      'egmim_mm.MeanTeacherHook', logger='current', level=logging.WARNING)
            return
        student, teacher = (float(scores[part][self.score]) for part in ('student', 'teacher'))
        self.model.choose('student' if student > teacher else 'teacher')  # the teacher too where a score is NaN
        chosen = self.model.chosen
        metrics.clear()
        metrics.update(scores[chosen])
        runner.val_loop.evaluator = self._evaluators[chosen]
        runner.message_hub.update_info('predictor', dict(
            network=chosen, chosen_on=self.part if self.model.predict_with == 'auto' else None, score=self.score,
            student=student, teacher=teacher, iteration=runner.iter))
        print_log(f'{self.score} on the {self.part} images: student {student:.2f}, teacher {teacher:.2f}; the {chosen} '
                  'predicts', logger='current')
        for hook in runner.hooks:
            if isinstance(hook, SafeCheckpointHook):  # it has saved before the validation
                hook.save_again(runner)

    def _other(self) -> str:
        return PARTS[self.model.chosen == PARTS[0]]
