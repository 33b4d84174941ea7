"""tools/benchmark.py all: order, ratios, interruption, the page. Measurements are made up, but for one at toy size."""
import json
import re

import pytest
import torch

from egmim_mm.benchmark import suite as module
from egmim_mm.benchmark.child import ChildFailed
from egmim_mm.benchmark.page import markdown, write_page
from egmim_mm.benchmark.plan import comparisons
from egmim_mm.benchmark.rows import cells, read_rows
from egmim_mm.benchmark.suite import Suite

CPU = torch.device('cpu')
OURS, STOCK = 'EGMIM, all tokens', 'stock SimMIM, float32'


class Machine:
    """Stands for child processes: stock is half as fast as ours; the round makes both faster alike."""

    def __init__(self):
        self.jobs, self.stop_at, self.error = [], None, None

    def run(self, function, argument, threads, device, log):
        if len(self.jobs) == self.stop_at:
            raise self.error
        self.jobs.append((function.rpartition(':')[2], argument))
        if function.endswith('measure_products'):
            return dict(rate=1e9 if argument['precision'] == 'float32' else 4e9, precision=argument['precision'])
        if function == 'made:up':
            return [dict(name='wait', variant='ours', against='', unit='%', ours=1.5, note='said once')] * 2
        speed = (10 if argument['stock'] else 20) + len(self.jobs)
        return dict(images_per_s=speed, alone_images_per_s=2 * speed, data_wait=0.25, flops=1e8,
                    peak_bytes=2**20 * (80 if argument['stock'] else 60))

    def trained(self):
        return [('stock ' if job['stock'] else 'ours ') + job['phase'] for name, job in self.jobs if name == 'measure']


@pytest.fixture
def machine(monkeypatch):
    stands_in = Machine()
    monkeypatch.setattr(module, 'run_in_child', stands_in.run)
    monkeypatch.setattr(module, 'write_dataset', lambda *args, **kwargs: 0)
    monkeypatch.setattr(module, 'FUNCTIONS', {})
    return stands_in


def suite(folder, **options):
    return Suite(folder, CPU, 1, 2, **{'toy': True, 'say': lambda line: None, **options})


def test_ways_take_turns_and_rows_say_what_was_measured(machine, tmp_path):
    document = suite(tmp_path).run('the command')
    assert [name for name, _ in machine.jobs[:2]] == ['measure_products'] * 2
    assert machine.trained() == ['ours pretrain', 'stock pretrain', 'stock pretrain', 'ours pretrain',
                                 'ours finetune', 'stock finetune']
    assert [job['count'] for name, job in machine.jobs if name == 'measure'] == [True, True, False, False, True, True]
    rows = read_rows(document['rows'])
    assert [row.name.split(': ')[1] for row in rows] == 2 * [
        'end to end', 'step alone', 'peak memory', 'waiting for data', 'share of the arithmetic limit']
    assert {(row.variant, row.against) for row in rows[:5]} == {(OURS, STOCK)}
    # jobs 3 to 6: 23, 14, 15, 26 images/s; pairs are 23 / 14 and 26 / 15
    assert (rows[0].ours, rows[0].baseline) == (24.5, 14.5)
    assert rows[0].ratio == pytest.approx((23 / 14 + 26 / 15) / 2)
    assert (rows[0].low, rows[0].high) == pytest.approx((23 / 14, 26 / 15))
    assert (rows[2].ours, rows[2].baseline, rows[2].ratio, rows[2].better) == (60, 80, 0.75, 'less')
    assert (rows[3].ours, rows[3].ratio) == (25, None)
    # 1e8 operations for two images: 49 images/s are 2.45e9 a second, of 4e9; stock 29 images/s of 1e9
    assert (rows[4].ours, rows[4].baseline) == pytest.approx((100 * 2.45 / 4, 145))
    assert document['not_measured'] == {} and document['command'] == 'the command'
    assert json.loads((tmp_path / 'all.json').read_text())['rows'] == document['rows']


@pytest.mark.parametrize('error', [KeyboardInterrupt, ChildFailed('out of memory (all of it: log)')])
def test_an_interrupted_run_goes_on_with_whole_rounds(machine, tmp_path, error):
    machine.stop_at, machine.error = 5, error  # in the second round, after stock
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            suite(tmp_path).run('')
    else:
        document = suite(tmp_path).run('')
        assert document['not_measured'] == {'pretrain-toy': 'out of memory (all of it: log)',
                                            'finetune-toy': 'out of memory (all of it: log)'}
        assert len(document['rows']) == 5  # of the first round
    machine.stop_at, machine.jobs = None, []
    going_on = suite(tmp_path, resume=True)
    assert list(going_on.journal.done) == ['products float32', 'products auto', 'pretrain-toy round 1']
    rows = read_rows(going_on.run('')['rows'])
    assert machine.trained() == ['stock pretrain', 'ours pretrain', 'ours finetune', 'stock finetune']
    assert rows[0].low == pytest.approx(23 / 14) and rows[0].high == pytest.approx(22 / 11)
    machine.jobs = []
    assert suite(tmp_path, resume=True).run('')['rows'] == [vars(row) for row in rows]
    assert machine.jobs == []
    with pytest.raises(ValueError, match='was measured with another rounds'):
        suite(tmp_path, resume=True, rounds=4)


def test_parts_can_be_chosen_and_other_timings_add_their_rows(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'FUNCTIONS', {'data-wait': ('made:up', 2.0), 'other': ('made:up', 1.0)})
    chosen = suite(tmp_path, toy=False, only=['pretrain-nano', 'data-wait'], rounds=1)
    nano = next(c for c in comparisons() if c.name == 'pretrain-nano')
    assert chosen.minutes() == pytest.approx(len(nano.ways) * nano.seconds / 60 + 2)
    rows = read_rows(chosen.run('')['rows'])
    assert len(machine.trained()) == len(nano.ways)
    assert [row.name for row in rows[-2:]] == ['wait', 'wait']
    against = [row.against for row in rows if row.name.endswith('end to end')]
    assert against == [STOCK, 'stock SimMIM, our precision'] * 2  # all tokens, visible tokens
    assert 'pretraining, nano, 8 x 128 px' in rows[0].name


@pytest.mark.parametrize('options, message', [
    (dict(only=['pretrain-huge']), '--only pretrain-huge: there are pretrain-toy, finetune-toy'),
    (dict(rounds=0), '--rounds 0'),
    (dict(images='nowhere'), '--tiles nowhere: there is no image in this folder'),
    (dict(resume=True), '--resume: there is no .*journal.jsonl'),
])
def test_wrong_input_is_named_before_anything_runs(machine, tmp_path, options, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        suite(tmp_path, **options)
    assert machine.jobs == [] and list(tmp_path.iterdir()) == []


def test_the_page_is_the_document(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'FUNCTIONS', {'data-wait': ('made:up', 2.0)})
    document = suite(tmp_path, toy=False, only=['finetune-nano', 'data-wait'], rounds=2).run('python tools/it.py all')
    document['git'] = dict(commit='0123456789', modified=True)
    document['not_measured'] = {'pretrain-nano': 'no memory'}
    page, picture = write_page(document, tmp_path / 'docs/speed.md')
    text = page.read_text()
    lines = [line for line in text.splitlines() if line.startswith('| ')][2:]
    assert [tuple(cell.strip() for cell in line[1:-1].split('|')) for line in lines] == [
        cells(row) for row in read_rows(document['rows'])]
    assert '    python tools/it.py all\n' in text and 'Commit 0123456, with changes' in text
    assert f'torch {torch.__version__}' in text and 'no GPU was used' in text and '- pretrain-nano: no memory' in text
    assert '1 GFLOP/s in float32, 4 GFLOP/s in auto' in text
    assert text.count('Said once') == 1 and 'mean nothing' not in text
    assert picture.read_bytes().startswith(b'\x89PNG') and f'({picture.name})' in text
    document.update(rows=[], toy=True, git=None, not_measured={})
    text = markdown(document)
    assert 'mean nothing' in text and 'No commit' in text and '![' not in text
    assert re.search(r'^## What is compared$', text, re.M) and 'Not measured' not in text
