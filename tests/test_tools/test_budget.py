"""tools/train.py and tools/test.py with a budget and a dev part."""
import json


def test_a_budget_on_the_dev_part_and_the_test_of_it(tiny, call, tmp_path):
    call('train', tiny.upernet, '--work-dir', tmp_path, '--budget', '30%', '--dev', '--preset', 'tens of tiles',
         '--cfg-options', 'dev_tiles=[6*,7*]', 'train_cfg.max_iters=1', 'train_cfg.val_interval=1')
    trained = json.loads((tmp_path / 'results.json').read_text())
    assert (trained['part'], trained['phase']) == ('dev', 'val')
    assert trained['protocol']['evaluation'].items() >= dict(part='dev', dev_tiles=['6*', '7*'], num_tiles=2).items()
    training = trained['protocol']['training']
    assert training['split']['num_tiles'] == 6 and training['selected_on'] is None
    assert len(training['labels']['tiles']) == 2 and not {'6', '7'} & set(training['labels']['tiles'])
    assert (training['preset']['name'], training['preset']['budget'], training['preset']['tiles']) == (
        'tens of tiles', '30%', 2)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert ("Budget 30%: 2 labelled tiles, 1 iteration; preset 'tens of tiles', which sets train_cfg.max_iters=8000"
            in log)
    call('test', tiny.upernet, tmp_path, '--work-dir', tmp_path / 'test')
    tested = json.loads((tmp_path / 'test/results.json').read_text())
    assert tested['part'] == 'test' and tested['protocol']['evaluation']['num_tiles'] == 8
    assert tested['protocol']['training']['preset'] == training['preset']
