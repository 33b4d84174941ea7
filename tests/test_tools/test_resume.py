"""A run that is killed and resumed ends with the weights of one that was not."""
import signal
import sys

import pytest
import torch

from egmim_mm.checkpoints import read_checkpoint

KILLER = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Killer(Hook):
    priority = 'LOWEST'
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 7 and not runner._resume:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize('phase', ['egmim', 'upernet', 'semi'])
def test_kill_9_then_resume_is_exact(tiny, tmp_path, start, call, phase, losses):
    config = getattr(tiny, phase)
    call('train', config, '--work-dir', tmp_path / 'whole')

    (tmp_path / 'killer.py').write_text(KILLER)
    doomed = tmp_path / 'doomed.py'
    hooks = '[*_base_.custom_hooks, dict(type="Killer")]' if phase == 'semi' else '[dict(type="Killer")]'
    doomed.write_text(f"_base_ = '{config}'\nimport sys\nsys.path.insert(0, '{tmp_path}')\n"
                      f"custom_imports = dict(imports=['killer'])\ncustom_hooks = {hooks}\ndel sys\n")
    killed = start(sys.executable, 'tools/train.py', doomed, '--work-dir', tmp_path / 'cut', check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert (tmp_path / 'cut/last.pth').resolve().name == 'iter_4.pth'

    call('train', config, '--work-dir', tmp_path / 'cut', '--resume')
    whole, cut = (read_checkpoint(tmp_path / name / 'last.pth') for name in ('whole', 'cut'))
    assert cut['meta']['iter'] == 12
    assert whole['state_dict'].keys() == cut['state_dict'].keys()
    assert all(torch.equal(whole['state_dict'][k], cut['state_dict'][k]) for k in whole['state_dict'])
    assert losses(tmp_path / 'whole')[-8:] == losses(tmp_path / 'cut')[-8:]
