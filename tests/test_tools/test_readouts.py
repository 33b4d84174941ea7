"""tools/analyze.py readouts makes in one pass what tools/train.py and tools/test.py make for each choice of tiles."""
import json
import re

import pytest

from egmim_mm.analysis.comparison import compare_runs
from egmim_mm.evaluation.per_image import read_per_image


@pytest.fixture(scope='module')
def config(tiny):
    return tiny.few


@pytest.fixture(scope='module')
def grid(config, weights, call, tmp_path_factory):
    out = tmp_path_factory.mktemp('readouts')
    call('analyze', 'readouts', config, '--budgets', 1, 2, '--label-seeds', 3, 4, '--backbone', f'own={weights}',
         '--backbone', 'scratch', '--out', out, '--device', 'cpu')
    return out


def results(folder):
    return json.loads((folder / 'results.json').read_text())


def test_each_is_that_of_a_training_with_this_budget(grid, config, weights, call, tmp_path):
    call('train', config, '--backbone', weights, '--budget', 2, '--seed', 0, '--work-dir', tmp_path / 'run',
         '--cfg-options', 'train_dataloader.sampler.seed=4')
    call('test', tmp_path / 'run/few.py', tmp_path / 'run', '--work-dir', tmp_path / 'test')
    one, other = grid / 'own/2_seed4', tmp_path / 'test'
    assert results(one)['metrics'] == results(other)['metrics']
    counts, expected = (read_per_image(folder / 'per_image.npz') for folder in (one, other))
    assert counts[0] == expected[0] and all((counts[1][key] == expected[1][key]).all() for key in expected[1])
    assert results(one)['protocol']['training']['labels']['tiles'] == results(tmp_path / 'run')['protocol']['training'][
        'labels']['tiles']


def test_two_starts_are_compared_by_what_it_leaves(grid, tmp_path):
    document = compare_runs({name: f'{grid}/{name}/1_seed{{seed}}' for name in ('scratch', 'own')}, tmp_path, [3, 4],
                            draws=50, images=0)
    rows = json.loads((grid / 'readouts.json').read_text())['rows']
    for name, key in (('scratch', 'first'), ('own', 'second')):
        scores = [one['mIoU'] for one in rows[name]['1']]
        assert document['scores']['mIoU'][key] == pytest.approx(sum(scores) / 2)
    assert (grid / 'readouts.png').stat().st_size > 5000 and list(rows['own']) == ['1', '2']


def test_what_is_there_is_not_made_again_and_never_mixed(grid, config, weights, call):
    folder = grid / 'own/1_seed3'
    before = (folder / 'results.json').stat().st_mtime_ns
    table = json.loads((grid / 'readouts.json').read_text())
    fewer = [config, '--budgets', 1, '--backbone', f'own={weights}', '--out', grid, '--device', 'cpu',
             '--label-seeds', 3]
    options = [*fewer, 4, '--budgets', 1, 2]
    call('analyze', 'readouts', *options)
    assert (folder / 'results.json').stat().st_mtime_ns == before
    after = json.loads((grid / 'readouts.json').read_text())  # of both starts, though one alone was asked for
    assert after['rows'] == table['rows'] and after['sources'] == table['sources']
    with pytest.raises(SystemExit, match='readouts.json holds scratch with another choices: give another --out'):
        call('analyze', 'readouts', *fewer)
    with pytest.raises(SystemExit, match=f'^Error: {re.escape(str(folder))}/results.json is of another training'):
        call('analyze', 'readouts', *options, '--cfg-options', 'train_cfg.cells=300')


@pytest.mark.parametrize(('options', 'says'), [
    (['--budgets', 2, 2], '--budgets 2 2: each one once'),
    (['--budgets', 1, '--label-seeds', 0, 0], '--label-seeds 0 0: each one once'),
    (['--budgets', 1, '--preset', 'none'], 'model.decode_head is no egmim_mm.ReadoutHead'),
    (['--budgets', 0], 'label budget 0 labels nothing'),
])
def test_what_cannot_be_read_out(options, says, config, call, tmp_path):
    with pytest.raises(SystemExit, match=f'^Error: .*{says}'):
        call('analyze', 'readouts', config, '--backbone', 'scratch', '--out', tmp_path, '--device', 'cpu', *options)


def test_tiles_by_name(grid, config, weights, call, tmp_path):
    tiles = results(grid / 'own/2_seed4')['protocol']['training']['labels']['tiles']
    split = tmp_path / 'mine_seed4.txt'
    split.write_text('\n'.join(tiles) + '\n')
    options = ['analyze', 'readouts', config, '--backbone', f'own={weights}', '--out', tmp_path / 'out', '--device',
               'cpu']
    call(*options, '--splits', split)
    scores = [results(folder)['metrics']['mIoU'] for folder in (tmp_path / 'out/own/mine_seed4', grid / 'own/2_seed4')]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)  # the same cells in another order
    assert json.loads((tmp_path / 'out/readouts.json').read_text())['choices'] == ['mine_seed4']
    for name, text, says in (('mine.txt', 'a', '--splits takes files <what>_seed<N>.txt'),
                             ('no_seed0.txt', '', '--splits takes files <what>_seed<N>.txt'),
                             ('other_seed0.txt', 'nowhere', 'other_seed0 names nowhere, which is none of the')):
        (tmp_path / name).write_text(text)
        with pytest.raises(SystemExit, match=f'^Error: .*{says}'):
            call(*options, '--splits', tmp_path / name)
