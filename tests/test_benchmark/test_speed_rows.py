"""Rows of the table of speeds, the journal of a run and the processes of measurements."""
import json

import pytest
import torch

from egmim_mm.benchmark.child import ChildFailed, run_in_child
from egmim_mm.benchmark.journal import Journal
from egmim_mm.benchmark.machine import check_device, describe_machine, measure_products
from egmim_mm.benchmark.rows import HEADS, Row, cells, paired_row, read_rows

CPU = torch.device('cpu')


def test_a_ratio_is_the_median_over_pairs_not_of_medians():
    row = paired_row('step', 'ours', 'stock', 'images/s', [4, 6, 10], [2, 1, 4], note='what')
    assert (row.ours, row.baseline) == (6, 2)
    assert (row.ratio, row.low, row.high) == (2.5, 2, 6)  # of 2, 6 and 2.5
    assert (row.better, row.note) == ('more', 'what')
    single = paired_row('step', 'ours', 'stock', 'MiB', [3], [6], 'less')
    assert (single.ratio, single.low, single.high, single.better) == (0.5, 0.5, 0.5, 'less')


@pytest.mark.parametrize('ours, baseline, message', [
    ([], [], 'at least one: got 0 and 0'),
    ([1, 2], [1], 'as many measurements of ours as of stock, at least one: got 2 and 1'),
    ([1], [0], 'stock was measured as 0 s, of which there is no ratio'),
])
def test_what_makes_no_pairs_is_refused(ours, baseline, message):
    with pytest.raises(ValueError, match=message):
        paired_row('step', 'ours', 'stock', 's', ours, baseline)


def test_texts_of_a_row():
    row = Row('step', 'ours', 'stock', 'images/s', 123.4, 12.345, 9.996, 9.1, 11.04)
    assert cells(row) == ('step', 'ours', 'stock', 'images/s', '123', '12.3', '10.00', '9.10 - 11.04', 'more')
    assert cells(Row('wait', 'ours', '', '%', 0.512)) == ('wait', 'ours', '-', '%', '0.512', '-', '-', '-', 'more')
    assert cells(Row('score', 'ours', 'stock', 's'))[4:6] == ('-', '-')
    assert len(cells(row)) == sum(map(len, HEADS))
    assert read_rows([dict(name='a', variant='b', against='', unit='%', ours=1.0)])[0] == Row('a', 'b', '', '%', 1.0)


def test_a_journal_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / 'run/journal.jsonl'
    journal = Journal(path, dict(threads=2, ways=('a', 'b')))
    journal.keep('first', [1, 2])
    journal.keep('second', dict(x=None))
    with path.open('a') as file:
        file.write('{"key": "third", "res')  # a crash
    again = Journal(path, dict(threads=2, ways=('a', 'b')), resume=True)
    assert again.done == {'first': [1, 2], 'second': {'x': None}}
    again.keep('third', 3)
    assert Journal(path, dict(threads=2, ways=['a', 'b']), resume=True).done['third'] == 3
    anew = Journal(path, dict(threads=4))
    assert anew.done == {} and len(path.read_text().splitlines()) == 1
    assert len((path.parent / 'journal.jsonl.previous').read_text().splitlines()) == 4


def test_a_journal_of_another_run_is_refused(tmp_path):
    path = tmp_path / 'journal.jsonl'
    with pytest.raises(ValueError, match='--resume: there is no .*journal.jsonl; start without --resume'):
        Journal(path, dict(threads=2), resume=True)
    Journal(path, dict(threads=2, device='cpu'))
    with pytest.raises(ValueError, match='was measured with another threads: give the options of that run'):
        Journal(path, dict(threads=1, device='cpu'), resume=True)


def test_a_measurement_has_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '5,7')
    assert run_in_child('os:getenv', 'OMP_NUM_THREADS', 3, CPU, tmp_path / 'logs/a.log') == '3'
    assert run_in_child('os:getenv', 'CUDA_VISIBLE_DEVICES', 1, torch.device('cuda:1'), tmp_path / 'b.log') == '7'
    with pytest.raises(ChildFailed, match=r"object of type 'int' has no len\(\) \(all of it: .*c.log\)"):
        run_in_child('builtins:len', 5, 1, CPU, tmp_path / 'c.log')
    assert 'Traceback' in (tmp_path / 'c.log').read_text()


@pytest.mark.parametrize('name, message', [
    ('gpu', "--device 'gpu' is unknown: give cpu, cuda or cuda:1"),
    ('meta', "--device 'meta': speeds are measured on cpu and cuda"),
    ('cuda:99', r"--device 'cuda:99': this machine has \d+ GPU"),
])
def test_a_device_that_is_not_there_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        check_device(name)


def test_speed_of_products(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr('egmim_mm.benchmark.machine.device_clock', lambda device: ('', lambda: next(ticks)))
    measured = measure_products(dict(device='cpu', precision='float32', side=8))
    assert measured == dict(rate=2 * 8**3, precision='float32')  # each takes a second of this clock
    machine = describe_machine(check_device('cpu'), 3)
    assert machine['threads'] == 3 and machine['gpu'] is None and machine['cpu'] and json.dumps(machine)
