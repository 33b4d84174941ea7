"""Runs in processes of their own: one at a time in a work dir, and one line when they are stopped."""
import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mmengine.registry import MODELS

from egmim_mm.checks import LaunchError
from egmim_mm.engine import work_dir_lock
from egmim_mm.engine.errors import user_errors
from egmim_mm.engine.interruption import going_on, resume_command
from egmim_mm.engine.work_dir_lock import sole_run

ROOT = Path(__file__).resolve().parents[2]
TOY = """
import time
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS

@MODELS.register_module()
class SlowToy(BaseModel):
    def __init__(self):
        super().__init__()
        self.fit = torch.nn.Linear(2, 1)
    def forward(self, inputs, mode='tensor'):
        time.sleep(0.1)
        out = self.fit(torch.stack(inputs)).square().mean()
        return dict(loss=out) if mode == 'loss' else [out]

@DATASETS.register_module()
class SlowToyTiles(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return dict(inputs=torch.full((2, ), index / 4.0))

@METRICS.register_module()
class SlowToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)
    def compute_metrics(self, results):
        return dict(mIoU=1.0)
"""
CONFIG = """
custom_imports = dict(imports=['slow_toy'])
default_scope = 'mmengine'
model = dict(type='SlowToy')
train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(type='SlowToyTiles'),
                        sampler=dict(type='InfiniteSampler', shuffle=False))
test_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(type='SlowToyTiles'),
                       sampler=dict(type='DefaultSampler', shuffle=False))
test_cfg = dict(type='TestLoop')
test_evaluator = [dict(type='SlowToyMetric')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(checkpoint=dict(type='egmim_mm.SafeCheckpointHook', interval=2),
                     results=dict(type='egmim_mm.ResultsHook'))
randomness = dict(seed=0)
"""


@pytest.fixture
def train(tmp_path):
    """Function: start tools/train.py on a toy that would take a minute, in a process group of its own."""
    (tmp_path / 'slow_toy.py').write_text(TOY)
    (tmp_path / 'slow.py').write_text(CONFIG)
    started = []

    def start(*options, tool='train'):
        environment = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{tmp_path}', OMP_NUM_THREADS='1')
        command = [sys.executable, str(ROOT / f'tools/{tool}.py'), 'slow.py', *options]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, start_new_session=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Function: run one of the tools on the same toy inside this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'toy.py').write_text(CONFIG.replace("dict(imports=['slow_toy'])", 'dict(imports=[])'))

    def run(tool, *options):
        if 'SlowToy' not in MODELS.module_dict:
            runpy.run_path(str(tmp_path / 'slow_toy.py'))
        monkeypatch.setattr('sys.argv', [tool, 'toy.py', '--work-dir', 'work_dirs/slow', *options])
        if tool == 'test':
            monkeypatch.setattr('sys.argv', [tool, 'toy.py', *options])
        runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')

    return run


def wait_for(path, process):
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed(train, here, tmp_path, number):
    work_dir = tmp_path / 'work_dirs/slow'
    first = train()
    wait_for(work_dir / 'run.lock', first)
    with pytest.raises(SystemExit, match=rf'Error: work_dirs/slow is in use by another run \(process {first.pid} on '):
        here('train')
    wait_for(work_dir / 'last.pth', first)
    for tool, options in (('train', ['--resume']), ('test', ['work_dirs/slow'])):
        with pytest.raises(SystemExit, match='work_dirs/slow is in use by another run .* give another --work-dir'):
            here(tool, *options)

    os.killpg(first.pid, number)  # as a terminal and Slurm do: the workers of the loader are asked, too
    error = first.communicate(timeout=60)[1]
    last = (work_dir / 'last.pth').resolve().name
    assert first.returncode == 130 and 'Traceback' not in error
    assert error.splitlines()[-1] == (f'Interrupted. Last checkpoint: work_dirs/slow/{last}; go on with: python '
                                      f'{ROOT}/tools/train.py slow.py --resume')
    assert not (work_dir / 'results.json').exists()
    here('train', '--resume', '--cfg-options', f'train_cfg.max_iters={int(last[5:-4]) + 2}')
    assert json.loads((work_dir / 'results.json').read_text())['iteration'] == int(last[5:-4]) + 2


def test_a_killed_run_holds_nothing(train, tmp_path):
    process = train()
    wait_for(tmp_path / 'work_dirs/slow/last.pth', process)
    process.kill()
    process.wait()
    with sole_run(tmp_path / 'work_dirs/slow'):  # at once, though workers of its loader live on for seconds
        pass


def test_only_the_first_process_of_a_run_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with sole_run(tmp_path / 'new', 'pytorch'):
        assert not (tmp_path / 'new').exists()
    monkeypatch.setenv('RANK', '0')
    with sole_run(tmp_path / 'new', 'pytorch'):
        assert (tmp_path / 'new/run.lock').is_file()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(work_dir_lock, 'print_log', lambda text, logger: lines.append(text))

    def refuse(*args):
        raise OSError(37, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', refuse)
    with sole_run(tmp_path):
        assert len(lines) == 1 and 'cannot be locked ([Errno 37] No locks available)' in lines[0]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_any_tool_ends_with_one_line(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, user_errors('Interrupted: half of it is done'):
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Terminated') from None
    assert caught.value.code == 130 and capsys.readouterr().err == 'Interrupted: half of it is done\n'
    assert signal.getsignal(number) is before


def test_a_worker_may_be_stopped_first(capsys):
    with pytest.raises(SystemExit) as caught, user_errors():
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Terminated')
    assert caught.value.code == 130 and capsys.readouterr().err == 'Interrupted\n'


def test_before_the_first_checkpoint(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught, user_errors(), going_on(tmp_path):
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert capsys.readouterr().err == 'Interrupted before the first checkpoint: start again with the same command\n'


def test_mistakes_are_no_interruption(tmp_path):
    with pytest.raises(SystemExit, match='Error: wrong'), user_errors(), going_on(tmp_path):
        raise LaunchError('wrong')
    with pytest.raises(RuntimeError, match='a fault'), user_errors(), going_on(tmp_path):
        raise RuntimeError('a fault')


@pytest.mark.parametrize('given, expected', [
    ('c.py', 'c.py'),
    ('c.py --backbone x.pth --seed 3', 'c.py --seed 3'), ('c.py --backbone=x.pth --amp', 'c.py --amp'),
    ('c.py --back x.pth --allow-partial', 'c.py'), ('c.py --resume', 'c.py'),
    ('c.py --resume i.pth --amp', 'c.py --amp'),
    ("c.py --work-dir 'my runs' --cfg-options a=1 b=2", "c.py --work-dir 'my runs' --cfg-options a=1 b=2")])
def test_resume_command(given, expected):
    assert resume_command(['tools/train.py', *shlex.split(given)]) == f'python tools/train.py {expected} --resume'


def test_resume_command_of_several_processes():
    assert resume_command(['tools/train.py', 'c.py', '--launcher', 'pytorch']) == (
        'the command it began with, --resume in place of --backbone')


def test_interrupted_test_leaves_results_alone(train, here, tmp_path):
    work_dir = tmp_path / 'work_dirs/slow'
    here('train', '--cfg-options', 'train_cfg.max_iters=2')
    before = (work_dir / 'results.json').read_bytes()
    assert json.loads(before)['training_ended'] is True
    logs = len(list(work_dir.glob('*/*.log')))
    test = train('work_dirs/slow', tool='test')
    end = time.monotonic() + 120
    while len(list(work_dir.glob('*/*.log'))) == logs and time.monotonic() < end:
        time.sleep(0.02)
    test.send_signal(signal.SIGINT)
    error = test.communicate(timeout=60)[1]
    assert test.returncode == 130 and 'Traceback' not in error
    assert error.splitlines()[-1] == 'Interrupted: the test is not finished, give the same command again'
    assert (work_dir / 'results.json').read_bytes() == before
