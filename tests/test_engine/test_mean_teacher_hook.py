"""The hook that leads a mean teacher: when it speaks and what it refuses."""
from types import SimpleNamespace

import pytest
import torch

from egmim_mm.engine.hooks import MeanTeacherHook, mean_teacher


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
