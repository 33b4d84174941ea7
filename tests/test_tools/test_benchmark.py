"""The benchmark as a command, at toy size. Whether it is fast is no test."""
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def report(tiny, call, tmp_path_factory):
    """(what was written, folder) of one run with a profile."""
    folder = tmp_path_factory.mktemp('benchmark')
    call('benchmark', 'pretrain', tiny.egmim, '--batch', 2, '--steps', 3, '--profile', '--amp', '--device', 'cpu',
         '--out', folder)
    return json.loads((folder / 'pretrain.json').read_text())


def test_rows_are_finite_and_say_what_was_run(report):
    assert (report['batch'], report['size'], report['rounds'], report['precision']) == (2, 64, 3, 'float32')
    assert list(report['rows']) == ['EGMIM', 'EGMIM without guidance', 'MMPretrain SimMIM']
    for name, row in report['rows'].items():
        ratio = row['ratio']
        assert len(row['seconds_each']) == 3 and min(row['seconds_each']) > 0
        assert sorted(row['seconds_each'])[1] == row['seconds']
        assert row['images_per_s'] == pytest.approx(2 / row['seconds'])
        assert all(math.isfinite(v) and v > 0 for v in ratio.values()), name
        assert ratio['low'] <= ratio['median'] <= ratio['high']
        assert row['peak_memory_bytes'] is None
    stock = report['rows'][report['baseline']]
    assert set(stock['ratio'].values()) == {1.0}
    pairs = zip(report['rows']['EGMIM']['seconds_each'], stock['seconds_each'])
    assert report['rows']['EGMIM']['ratio']['median'] == pytest.approx(sorted(a / b for a, b in pairs)[1])


def test_parts_of_each_step_are_there(report):
    assert list(report['profile']) == list(report['rows'])
    for parts in report['profile'].values():
        assert {'backbone, forward', 'backward', 'other'} < set(parts) and min(parts.values()) > 0
    assert {'edge prior', 'mask', 'HOG target'} < set(report['profile']['EGMIM'])


def test_report_has_its_provenance(report, tiny):
    assert report['config'] == str(tiny.egmim) and report['versions']['torch']
    assert report['device']['type'] == 'cpu' and report['device']['threads'] >= 1
    assert 'commit' in (report['git'] or dict(commit=None))


def test_table_and_default_place(tiny, call, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call('benchmark', 'pretrain', tiny.egmim, '--batch', 1, '--steps', 2, '--device', 'cpu', '--cfg-options',
         'model.mask_generator.policy=random')
    printed = capsys.readouterr().out
    assert 'batch 1, 64 px, float32, cpu' in printed and 'x SimMIM' in printed and 'MMPretrain SimMIM' in printed
    assert 'Parts of a step' not in printed and 'work_dirs/benchmark/egmim/pretrain.json' in printed
    assert 'profile' not in json.loads((tmp_path / 'work_dirs/benchmark/egmim/pretrain.json').read_text())


def test_batch_is_that_of_the_config(tiny, call, tmp_path):
    call('benchmark', 'pretrain', tiny.simmim, '--steps', 2, '--device', 'cpu', '--out', tmp_path)
    report = json.loads((tmp_path / 'pretrain.json').read_text())
    assert report['batch'] == 4
    counts = {row['parameters'] for row in report['rows'].values()}
    assert len(counts) == 1  # a SimMIM config is already without guidance


def test_crops_of_a_raster_against_tiles(call, tmp_path, capsys):
    call('benchmark', 'data', '--size', 600, '--crop', 64, '--crops', 6, '--rotate', '--out', tmp_path)
    report = json.loads((tmp_path / 'data.json').read_text())
    assert report['rotate'] and report['crops'] == 6 and len(report['rows']) == 2
    assert all(len(row['seconds_each']) == 6 and row['crops_per_s'] > 0 for row in report['rows'].values())
    assert 'times as fast' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='Error: a raster of 100 px is smaller than a tile of 512 px'):
        call('benchmark', 'data', '--size', 100, '--out', tmp_path)


def test_starts_on_folders_lists_and_shards(call, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    call('benchmark', 'start', '--files', 1000, '--shards', 2, '--folder', tmp_path, '--out', tmp_path / 'out')
    rows = json.loads((tmp_path / 'out/start.json').read_text())['rows']
    assert [(row['name'], row['images']) for row in rows] == [
        (f'{kind}, {which}', number) for kind, number in (('folder', 1000), ('list file', 1000), ('shards', 2000))
        for which in ('first', 'second')]
    assert all(0 < row['cpu_seconds'] and 1000 * 20 < row['list_bytes'] < 2000 * 100 for row in rows)
    assert 'list file, second' in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ['out']  # the corpus and the kept lists are gone
    with pytest.raises(SystemExit, match='Error: --files 1500 must be a multiple of 1000'):
        call('benchmark', 'start', '--files', 1500)


@pytest.mark.parametrize('config, arguments, message', [
    ('upernet', [], "model.type is 'egmim_mm.FittedEncoderDecoder', not egmim_mm.EGMIM"),
    ('egmim', ['--steps', 1], '--steps 1'),
    ('egmim', ['--size', 70], 'must be divisible by'),
])
def test_wrong_commands_end_in_one_line(tiny, call, tmp_path, config, arguments, message):
    with pytest.raises(SystemExit) as caught:
        call('benchmark', 'pretrain', getattr(tiny, config), '--out', tmp_path, *arguments)
    assert str(caught.value).startswith('Error: ') and message in str(caught.value)
    assert '\n' not in str(caught.value) and not list(tmp_path.iterdir())


def test_everything_in_one_table_after_an_interruption(tmp_path):
    command = [sys.executable, 'tools/benchmark.py', 'all', '--toy', '--only', 'pretrain-toy', '--rounds', '1',
               '--device', 'cpu', '--threads', '1', '--workers', '1', '--work-dir', str(tmp_path)]
    environment, journal = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED='1'), tmp_path / 'journal.jsonl'
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE) as process:
        while not (journal.is_file() and 'products float32' in journal.read_text()):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        last = process.stderr.read().splitlines()[-1]
    assert last.startswith('Interrupted. What is measured is kept; go on with: python tools/benchmark.py all --toy ')
    assert last.endswith('--resume') and not (tmp_path / 'all.json').exists()
    done = subprocess.run([*command, '--resume'], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1 measurements are done' in done.stdout and 'products float32' not in done.stdout
    document = json.loads((tmp_path / 'all.json').read_text())
    rows = document['rows']
    assert [row['name'].rpartition(': ')[2] for row in rows] == [
        'end to end', 'step alone', 'peak memory', 'waiting for data', 'share of the arithmetic limit']
    assert all(row['ours'] > 0 and row['baseline'] > 0 for row in rows)
    assert all(row['ratio'] == pytest.approx(row['ours'] / row['baseline']) for row in rows[:3])
    assert document['machine']['threads'] == 1 and document['products']['products float32']['rate'] > 1e6
    page = (tmp_path / 'speed.md').read_text()
    assert all(row['name'] in page for row in rows)
    assert page.count('| EGMIM, all tokens | stock SimMIM, float32 |') == 5 and (tmp_path / 'speed.png').is_file()


@pytest.mark.parametrize('arguments, message', [
    (['all', '--device', 'gpu'], "Error: --device 'gpu' is unknown"),
    (['all', '--device', 'cpu', '--tiles', 'nowhere'], 'Error: --tiles nowhere: there is no image'),
    (['all', '--device', 'cpu', '--resume'], 'Error: --resume: there is no '),
    (['time-to-score', '--device', 'tpu'], "Error: --device 'tpu'"),
    (['equal-learning', 'a.py', '--probe', 'b.py', '--steps', '3'], 'Error: 3 steps'),
])
def test_what_the_long_commands_refuse(call, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        call('benchmark', *arguments)
    assert str(caught.value).startswith(message) and '\n' not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
