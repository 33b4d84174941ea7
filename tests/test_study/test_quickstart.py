"""The first command of the README, at toy size: from a clone, and as make starts it."""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from egmim_mm.engine.errors import user_errors
from egmim_mm.study import quickstart

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Work dir of a finished toy run, the folder it was started in, and what it printed."""
    folder = tmp_path_factory.mktemp('toy')
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    run = subprocess.run([sys.executable, str(ROOT / 'tools/quickstart.py'), '--toy'], cwd=folder, env=environment,
                         capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return folder, run.stdout


def test_the_toy_run_goes_through_every_step(finished):
    folder, _ = finished
    work_dir = folder / 'work_dirs/quickstart_toy'
    scratch, egmim = (json.loads((work_dir / 'seed_0' / start / 'results.json').read_text())
                      for start in ('scratch', 'egmim'))
    assert scratch['phase'] == egmim['phase'] == 'test'
    assert scratch['backbone_source'] is None
    (pretraining, ) = egmim['backbone_source']['lineage']
    assert (pretraining['config'], pretraining['iterations']) == ('egmim_dapt.py', 4)
    labels = [run['protocol']['training']['labels'] for run in (scratch, egmim)]
    assert labels[0] == labels[1] and len(labels[0]['tiles']) == 1  # 5 % of 20


def test_table_and_sheet_show_both_starts(finished):
    folder, _ = finished
    work_dir = folder / 'work_dirs/quickstart_toy'
    table = json.loads((work_dir / 'table.json').read_text())
    for start in ('scratch', 'egmim'):
        tested = json.loads((work_dir / 'seed_0' / start / 'results.json').read_text())['metrics']
        assert table[start] == [tested]
    with Image.open(work_dir / 'sheet.png') as sheet:
        # four columns of 256 px, two scenes above and below
        assert 4 * 256 < sheet.width < 5 * 256 and 4 * 256 < sheet.height < 5 * 256
    assert len(list((folder / 'data/quickstart_toy/img_dir/train').glob('*.png'))) == 20


def test_the_printed_commands_can_be_repeated_from_where_it_ran(finished):
    folder, printed = finished
    commands = [line.split() for line in printed.splitlines() if line.startswith('  $ python ')]
    assert [Path(command[2]).name for command in commands] == ['train.py', 'train.py', 'train.py', 'test.py', 'test.py']
    assert all((folder / name).is_file() for command in commands for name in command[2:4])


@pytest.mark.parametrize('argument, inside, elsewhere', [
    ('tools/train.py', 'tools/train.py', f'{ROOT}/tools/train.py'),
    ('configs/quickstart/upernet.py', 'configs/quickstart/upernet.py', f'{ROOT}/configs/quickstart/upernet.py'),
    ('work_dirs/x', 'work_dirs/x', 'work_dirs/x'),
])
def test_names_of_configs_and_tools_hold_in_the_current_folder(monkeypatch, tmp_path, argument, inside, elsewhere):
    monkeypatch.chdir(ROOT)
    assert quickstart._rooted(argument) == inside
    monkeypatch.chdir(tmp_path)
    assert quickstart._rooted(argument) == elsewhere


@pytest.mark.parametrize('step, commands', [('dapt', 1), ('scratch', 2)], ids=['alone', 'side by side'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_its_commands(tmp_path, monkeypatch, capsys, step, commands, number):
    script = tmp_path / 'slow.py'
    script.write_text('import os, pathlib, sys, time\n'
                      'pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(60)\n')
    chain = quickstart.Quickstart(tmp_path / 'runs', tmp_path / 'data', [0], toy=True)

    def train(progress, config, folder, *args):
        if step == 'dapt' or folder.name != 'dapt':
            chain._command(progress, folder.name, folder.with_suffix('.log'), [str(script), f'{folder}.pid'])

    def stop():
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if sum(bool(file.read_text()) for file in tmp_path.rglob('*.pid')) == commands:
                os.kill(os.getpid(), number)  # this process alone
                return
            time.sleep(0.02)

    monkeypatch.setattr(chain, '_train', train)
    threading.Thread(target=stop, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended, user_errors('Interrupted: and so on'):
        chain._chain(0)
    assert ended.value.code == 130 and capsys.readouterr().err == 'Interrupted: and so on\n'
    assert time.monotonic() - began < 40 and not chain._running
    for file in tmp_path.rglob('*.pid'):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


def test_make_passes_its_arguments_on(tmp_path):
    (tmp_path / '.egmim_mm-installed').touch()
    # Without the settings of a make that runs this suite: it would print the directories it enters.
    environment = {name: value for name, value in os.environ.items() if name not in ('MAKEFLAGS', 'MAKELEVEL')}
    run = subprocess.run(['make', '-n', 'quickstart', f'VENV={tmp_path}', 'QUICKSTART_ARGS=--toy'], cwd=ROOT,
                         capture_output=True, text=True, env=environment)
    assert run.stdout.splitlines()[-1] == f'{tmp_path}/bin/python tools/quickstart.py --toy', run.stderr
