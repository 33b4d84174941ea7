"""SIGINT (Ctrl-C) and SIGTERM end a tool with one line, also while it imports and where it has started processes."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / 'tools').rglob('*.py'))
# A package that says that its import has begun, and by which process, and never ends.
SLOW_PACKAGE = ('import os, pathlib, time\npathlib.Path(__file__).with_name("begun_" + os.environ.get("RANK", "0"))'
                '.write_text(str(os.getpid()))\ntime.sleep(60)\n')

# Two tasks of a command; SIGTERM is handed on to them, SIGINT alone only warns, as Slurm's does it.
SRUN = """#!{python}
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
command = sys.argv[sys.argv.index(os.environ['PYTHON']):]
tasks = [subprocess.Popen(command, env=dict(os.environ, RANK=str(n), SLURM_PROCID=str(n))) for n in range(2)]
sys.exit(max([task.wait() for task in tasks]))
"""


@pytest.fixture
def start(tmp_path):
    """Function: start a command in a session of its own; packages named in ``slow`` never finish their import."""
    started = []

    def run(*command, slow=()):
        for name in slow:
            (tmp_path / name).mkdir()
            (tmp_path / name / '__init__.py').write_text(SLOW_PACKAGE)
        environment = dict(os.environ, PYTHONPATH=f'{tmp_path}{os.pathsep}{ROOT}', OMP_NUM_THREADS='1',
                           PYTHON=sys.executable)
        environment.pop('RANK', None)
        started.append(subprocess.Popen([str(word) for word in command], cwd=tmp_path, env=environment, text=True,
                                        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(process, found):
    end = time.monotonic() + 60
    while not found():
        assert process.poll() is None and time.monotonic() < end, process.stderr.read()
        time.sleep(0.02)


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # one that ended, and that nobody has asked for yet
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'


@pytest.mark.parametrize('tool', TOOLS)
def test_while_it_imports(start, tmp_path, tool):
    package = 'torch' if tool == 'tools/torchrun.py' else 'mmengine'
    process = start(sys.executable, ROOT / tool, slow=[package])
    wait_for(process, (tmp_path / package / 'begun_0').exists)
    os.killpg(process.pid, signal.SIGTERM if tool == 'tools/train.py' else signal.SIGINT)
    assert process.communicate(timeout=90) == ('', 'Interrupted\n') and process.returncode == 130


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('script, arguments', [('dist_train.sh', ['config.py', 2]),
                                               ('slurm_train.sh', ['part', 'job', 'config.py', 'work'])])
def test_a_signal_to_the_launch_script_stops_the_processes(start, tmp_path, number, script, arguments):
    (tmp_path / 'srun').write_text(SRUN.format(python=sys.executable))
    (tmp_path / 'srun').chmod(0o755)
    process = start('env', f'PATH={tmp_path}{os.pathsep}{os.environ["PATH"]}', ROOT / 'tools' / script, *arguments,
                    slow=['mmengine'])
    begun = [tmp_path / f'mmengine/begun_{rank}' for rank in (0, 1)]
    wait_for(process, lambda: all(file.exists() and file.read_text() for file in begun))
    process.send_signal(number)  # to the script alone, as a supervisor does
    assert process.communicate(timeout=90) == ('', 'Interrupted\n')
    assert process.returncode == 128 + number
    assert all(is_gone(int(file.read_text())) for file in begun)


@pytest.mark.parametrize('until', ['dataset.json', 'img_dir/unlabeled/*.png'], ids=['processes start', 'they paint'])
def test_scenes(start, tmp_path, until):
    process = start(sys.executable, ROOT / 'tools/make_scenes.py', '--out', 'out', '--train', 0, '--val', 0,
                    '--unlabeled', 5000, '--workers', 2)
    wait_for(process, lambda: any((tmp_path / 'out').glob(until)))
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=90)[1]
    assert process.returncode == 130 and error == 'Interrupted: the same command goes on where it stopped\n'


def test_a_conversion(start, tmp_path, write_image):
    for name in 'abcd':
        write_image(tmp_path / f'mine/images/{name}.png', np.zeros((96, 96, 3), np.uint8))
        write_image(tmp_path / f'mine/masks/{name}.png', np.zeros((96, 96), np.uint8))
    process = start(sys.executable, ROOT / 'tools/dataset_converters/folder.py', 'mine', '--out', 'out', '--classes',
                    'a', 'b', '--crop', 8, '--stride', 1, '--workers', 2)
    wait_for(process, lambda: any((tmp_path / 'out').rglob('*.png')))
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=90)[1]
    assert process.returncode == 130 and error == 'Interrupted\n'
