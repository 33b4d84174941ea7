"""Memory is kept from step to step by trainings on a CPU, and left to PyTorch on a GPU."""
import pytest
import torch
from mmengine.runner import Runner

from egmim_mm.engine import console_runner


@pytest.mark.parametrize('gpu, calls', [(False, ['kept', 'trained']), (True, ['trained'])])
def test_before_training_on_a_cpu(monkeypatch, gpu, calls):
    seen = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(console_runner, 'keep_freed_memory', lambda: seen.append('kept'))
    monkeypatch.setattr(Runner, 'train', lambda runner: seen.append('trained'))
    runner = console_runner.ConsoleRunner.__new__(console_runner.ConsoleRunner)
    runner.train()
    assert seen == calls
