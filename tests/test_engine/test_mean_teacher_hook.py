"""The hook that leads a mean teacher: when it speaks and what it refuses."""
from types import SimpleNamespace

import pytest
import torch

from egmim_mm.engine.hooks import MeanTeacherHook, both_scores, mean_teacher


def test_a_collapsed_teacher_is_told_once(monkeypatch):
    lines, hook = [], MeanTeacherHook(patience=5)
    hook._steps = 0
    monkeypatch.setattr(mean_teacher, 'print_log', lambda text, **_: lines.append(text))
    shares = [torch.tensor(value) for value in (1.0, 1.0, 1.0, 1.0, 0.9, 1.0, 1.0)]
    hook._watch(shares, 7)  # never five in a row
    assert not lines
    hook._watch([torch.tensor(1.0)] * 20, 27)
    assert len(lines) == 1 and 'one class alone for 5 steps (iteration 27)' in lines[0]


def test_other_models_and_samplers_are_refused(monkeypatch):
    loader = SimpleNamespace(sampler=object(), dataset=object())
    runner = SimpleNamespace(model=torch.nn.Linear(1, 1), train_dataloader=loader)
    with pytest.raises(ValueError, match='leads egmim_mm.MeanTeacherSegmentor, and the model is Linear'):
        MeanTeacherHook().before_train(runner)
    monkeypatch.setattr(mean_teacher, 'MeanTeacherSegmentor', torch.nn.Linear)
    with pytest.raises(ValueError, match='sampler is object: set its type=.egmim_mm.MixedLabelBudgetSampler'):
        MeanTeacherHook().before_train(runner)


class Evaluator:
    """Its scores are what it was shown."""

    def process(self, data_samples, data_batch):
        self.seen = data_samples[0]

    def evaluate(self, size):
        return dict(self.seen)


class Pair:
    """Student and teacher; what they predict are their scores."""

    def __init__(self, predict_with='auto', **scores):
        self.predict_with, self.scores, self.better = predict_with, scores, 'teacher'

    chosen = property(lambda self: self.better if self.predict_with == 'auto' else self.predict_with)

    def choose(self, part):
        self.better = part

    def predictions(self, part, data):
        return [self.scores[part]]


@pytest.fixture
def validate(monkeypatch):
    """Function: validate a model once; the metrics that other hooks see, the record, the log lines, the scalars."""

    def run(model, part='val', score='mIoU', resume=False, record=None):
        lines, scalars, own = [], {}, dict(data_root='a')
        loaders = dict(dev=dict(own, part='dev'), test=own, val=dict(data_root='b'))
        monkeypatch.setattr(both_scores, 'print_log', lambda text, **_: lines.append(text))
        hub = SimpleNamespace(runtime_info={} if record is None else dict(predictor=record))
        hub.update_info, hub.update_scalar = hub.runtime_info.__setitem__, scalars.__setitem__
        loop = SimpleNamespace(evaluator=Evaluator(), fp16=False, dataloader=SimpleNamespace(dataset=[0]))
        cfg = dict(test_dataloader=dict(dataset=own))
        cfg |= dict(val_dataloader=dict(dataset=loaders[part])) if part else {}
        runner = SimpleNamespace(cfg=cfg, val_loop=loop if part else None, _resume=resume, message_hub=hub, iter=7,
                                 hooks=[])
        scores = both_scores.BothScores(runner, model, score)
        metrics = dict(model.scores[model.chosen])
        scores.begin(runner)
        loop.evaluator.process(model.predictions(model.chosen, None), None)
        scores.add(runner, None)
        scores.finish(runner, metrics)
        return metrics, hub.runtime_info['predictor'], lines, scalars, loop.evaluator

    return run


LOW, HIGH = {'mIoU': 40.0, 'IoU/a': 3.0}, {'mIoU': 41.5, 'IoU/a': 2.0}


@pytest.mark.parametrize('part', ['dev', 'val'])
def test_the_better_predicts_and_gives_the_metrics(validate, part):
    model = Pair(student=HIGH, teacher=LOW)
    metrics, record, lines, scalars, evaluator = validate(model, part)
    assert model.chosen == 'student' and metrics == HIGH == evaluator.seen
    assert record == dict(network='student', chosen_on=part, score='mIoU', student=41.5, teacher=40.0, iteration=7)
    assert scalars == {'val/student/mIoU': 41.5, 'val/teacher/mIoU': 40.0}
    assert lines[0] == f'Of student and teacher that with the higher mIoU on the {part} images predicts'
    assert lines[-1] == f'mIoU on the {part} images: student 41.50, teacher 40.00; the student predicts'
    model.scores = dict(student=LOW, teacher=HIGH)  # and back, after a resume
    metrics, record, *_, evaluator = validate(model, part, resume=True, record=record)
    assert model.chosen == record['network'] == 'teacher' and metrics == HIGH == evaluator.seen


@pytest.mark.parametrize('scores', [(LOW, LOW), ({'mIoU': float('nan')}, LOW), (HIGH, {'mIoU': float('nan')})])
def test_the_teacher_predicts_where_none_is_better(validate, scores):
    model = Pair(student=scores[0], teacher=scores[1])
    validate(model)
    assert model.chosen == 'teacher'


def test_a_config_that_says_who_predicts_wins(validate):
    model = Pair('teacher', student=HIGH, teacher=LOW)
    metrics, record, lines, scalars, _ = validate(model)
    assert model.chosen == record['network'] == 'teacher' and metrics == LOW and record['chosen_on'] is None
    assert record['student'] == 41.5 and scalars['val/student/mIoU'] == 41.5  # known all the same
    assert lines[0] == 'The teacher predicts, as model.predict_with says'


@pytest.mark.parametrize(('part', 'says'), [
    ('test', 'the validation is on the images of the test, on which nothing is chosen'),
    (None, 'there is no validation, in which it would be compared with the student')])
def test_nothing_is_chosen_on_the_test(validate, part, says):
    model = Pair(student=HIGH, teacher=LOW)
    metrics, record, lines, scalars, _ = validate(model, part)
    assert model.chosen == 'teacher' and metrics == LOW and not scalars
    assert record == dict(network='teacher', chosen_on=None)
    assert len(lines) == 1 and f'The teacher predicts: {says}; with --dev' in lines[0]


def test_a_score_that_is_not_there_is_said(validate):
    model = Pair(student=HIGH, teacher=LOW)
    metrics, _, lines, *_ = validate(model, score='mDice')
    assert model.chosen == 'teacher' and metrics == LOW
    assert 'the validation gives no mDice but mIoU; set score= of egmim_mm.MeanTeacherHook' in lines[-1]
