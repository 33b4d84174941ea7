"""The launch scripts with stand-ins for Python and srun that print their arguments and environment."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
PRINTER = '#!/bin/sh\nfor a in "$@"; do echo "$a"; done\necho "PYTHONPATH=$PYTHONPATH OMP=$OMP_NUM_THREADS"\n'
# Asked for a free port the stand-in answers one, as the real Python does.
PYTHON = PRINTER.replace('for a', 'if [ "$1" = -c ]; then echo 40123; exit; fi\nfor a', 1)


@pytest.fixture
def launch(tmp_path):
    for name, text in (('python', PYTHON), ('srun', PRINTER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(script, *arguments, **variables):
        # Not the variables of a cluster the tests may run on.
        env = {'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', 'PYTHON': str(tmp_path / 'python'), **variables}
        return subprocess.run([TOOLS / script, *arguments], capture_output=True, text=True, env=env)

    return run


def test_dist_train_starts_one_process_per_gpu_on_a_free_port(launch):
    done = launch('dist_train.sh', 'c.py', '2', '--amp', '--cfg-options', 'a.b=1 2')
    lines = done.stdout.splitlines()
    assert lines[:6] == [str(TOOLS / 'torchrun.py'), '--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1',
                         '--master_port=40123', '--nproc_per_node=2']
    # An argument with a space stays one argument.
    assert lines[6:-1] == [str(TOOLS / 'train.py'), 'c.py', '--launcher', 'pytorch',
                           '--amp', '--cfg-options', 'a.b=1 2']
    assert f'PYTHONPATH={TOOLS}/..' in lines[-1]
    assert int(lines[-1].split('OMP=')[1]) >= 1


def test_dist_train_on_several_machines(launch):
    out = launch('dist_train.sh', 'c.py', '8', NNODES='2', NODE_RANK='1', MASTER_ADDR='node0').stdout.splitlines()
    assert out[1:6] == ['--nnodes=2', '--node_rank=1', '--master_addr=node0', '--master_port=29500',
                        '--nproc_per_node=8']


def test_settings_of_the_caller_are_kept(launch):
    out = launch('dist_train.sh', 'c.py', '1', PORT='1234', OMP_NUM_THREADS='3', PYTHONPATH='/mine').stdout
    assert '--master_port=1234\n' in out
    assert out.endswith(f'PYTHONPATH={TOOLS}/..:/mine OMP=3\n')


def test_dist_test_passes_the_checkpoint(launch):
    lines = launch('dist_test.sh', 'c.py', 'w.pth', '2', '--tta').stdout.splitlines()
    assert lines[6:-1] == [str(TOOLS / 'test.py'), 'c.py', 'w.pth', '--launcher', 'pytorch', '--tta']


@pytest.fixture
def torchrun(tmp_path):
    """Function: run a few lines of Python in two processes as dist_train.sh does."""

    def run(text):
        (tmp_path / 'script.py').write_text('import os, signal, sys, time\nrank = int(os.environ["RANK"])\n' + text)
        return subprocess.run(
            [sys.executable, TOOLS / 'torchrun.py', '--nproc_per_node=2', '--master_port=0', tmp_path / 'script.py'],
            capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS='1'), timeout=120)

    return run


def test_a_run_that_fails_ends_with_its_line_and_not_with_torchruns(torchrun):
    done = torchrun('print("Error: as it happens", rank, file=sys.stderr)\n'
                    'open(os.environ["EGMIM_ERROR_FILE"], "w").write("Error: one line")\nsys.exit(3)')
    lines = done.stderr.splitlines()
    assert done.returncode == 3 and lines[-1] == 'Error: one line' and len(lines) <= 3


def test_a_process_that_says_nothing_is_named(torchrun):
    done = torchrun('if rank == 1:\n    os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)')
    assert done.returncode == 137
    assert done.stderr == 'Error: process 1 was ended by SIGKILL, as the system does when memory runs out\n'


def test_a_traceback_stays(torchrun):
    done = torchrun('if rank == 0:\n    raise RuntimeError("a fault of the program")\ntime.sleep(60)')
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and lines[-1] == 'Error: process 0 failed; its messages are above'
    assert lines[-2] == 'RuntimeError: a fault of the program' and len(lines) < 8


def test_a_run_that_succeeds_says_nothing(torchrun):
    done = torchrun('import os; os.write(1, f"done{rank}\\n".encode())')  # print would write the end of the line later
    assert done.returncode == 0 and done.stderr == '' and sorted(done.stdout.split()) == ['done0', 'done1']


def test_slurm_train_ends_with_the_line_of_the_run(launch, tmp_path):
    (tmp_path / 'srun').write_text('#!/bin/sh\nprintf "Error: one line" > "$EGMIM_ERROR_FILE"\n'
                                   'echo "srun: error: task 0 exited" >&2\nexit 7\n')
    done = launch('slurm_train.sh', 'part', 'job', 'c.py', str(tmp_path / 'w'))
    assert done.returncode == 7 and done.stderr == 'srun: error: task 0 exited\nError: one line\n'
    assert list((tmp_path / 'w').iterdir()) == []


def test_slurm_train_asks_for_no_more_gpus_per_node_than_in_all(launch, tmp_path):
    done = launch('slurm_train.sh', 'part', 'job', 'c.py', str(tmp_path), '--amp', GPUS='4', SRUN_ARGS='-x n1')
    lines = done.stdout.splitlines()
    assert lines[:9] == ['-p', 'part', '--job-name=job', '--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4',
                         '--cpus-per-task=5', '--kill-on-bad-exit=1', '-x']
    assert lines[11:-1] == ['-u', str(TOOLS / 'train.py'), 'c.py', '--work-dir', str(tmp_path),
                           '--launcher', 'slurm', '--amp']


@pytest.mark.parametrize(('script', 'arguments'), [
    ('dist_train.sh', ['c.py']),
    ('dist_test.sh', ['c.py', 'w.pth']),
    ('slurm_train.sh', ['part', 'job', 'c.py']),
])
def test_missing_arguments_show_the_usage(launch, script, arguments):
    done = launch(script, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ')


@pytest.mark.parametrize('count', ['0', '-1', 'two', '--amp'])
def test_a_number_of_gpus_that_is_none_is_refused(launch, count):
    done = launch('dist_train.sh', 'c.py', count)
    assert done.returncode == 2
    assert f"positive integer, got '{count}'" in done.stderr


def test_a_failing_run_fails_the_script(launch):
    assert launch('dist_train.sh', 'c.py', '2', PYTHON='/bin/false', PORT='1').returncode == 1
