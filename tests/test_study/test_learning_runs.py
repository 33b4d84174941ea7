"""The time to a score and equal learning: whose images, which checkpoints, what is not repeated."""
import json

import pytest
import torch
from mmengine.config import Config

from egmim_mm.benchmark.plan import Way
from egmim_mm.benchmark.training_configs import TOY_ARCH
from egmim_mm.environment import SHIPPED
from egmim_mm.study import equal_learning, time_to_score
from egmim_mm.study.equal_learning import compare_learning, learning_rows, write_learning
from egmim_mm.study.time_to_score import (
    measure_scores,
    pretraining_like,
    probe_checkpoint,
    score_rows,
    train_to_checkpoints,
)
from egmim_mm.synthetic import write_dataset

OURS, STOCK = Way('ours'), Way('stock', stock=True)
CONFIG = """
_base_ = '{configs}/{name}'
model = dict(backbone=dict(arch=dict(_delete_=True, **{arch}), img_size=64, window_size=2))
"""


@pytest.fixture(scope='module')
def tiles(tmp_path_factory):
    root = tmp_path_factory.mktemp('tiles')
    write_dataset(root, 4, 2, 4, 96)
    return root


@pytest.fixture(scope='module')
def configs(tiles):
    """Files of pretraining and of its probe, with a toy backbone."""
    data = f"\ntrain_dataloader = dict(dataset=dict(data_root='{tiles}"
    files = []
    for name, more in (('egmim_dapt.py', data + "/img_dir/unlabeled', min_size=64))\n"),
                       ('upernet.py', data + f"'))\ntest_dataloader = dict(dataset=dict(data_root='{tiles}'))\n")):
        files.append(tiles / name)
        files[-1].write_text(CONFIG.format(configs=SHIPPED / 'configs/quickstart', name=name, arch=TOY_ARCH) + more)
    text = files[0].read_text()
    pipeline = Config.fromfile(files[0]).train_dataloader.dataset.pipeline
    for step in pipeline:
        if 'crop_size' in step:
            step.crop_size = 64
    files[0].write_text(f'{text}train_dataloader["dataset"]["pipeline"] = {[dict(step) for step in pipeline]}\n')
    return [str(file) for file in files]


def test_stock_sees_the_images_of_the_config(configs, tiles, tmp_path):
    cfg = pretraining_like(configs[0], tmp_path / 'list.txt', True, {'train_cfg.max_iters': 7})
    names = sorted((tiles / 'img_dir/unlabeled').glob('*.png'))
    assert (tmp_path / 'list.txt').read_text().split() == [str(name) for name in names] and len(names) == 4
    assert cfg.train_cfg.max_iters == 7 and cfg.model.type == 'SimMIM'
    assert pretraining_like(configs[0], tmp_path / 'none', False).model.type == 'egmim_mm.EGMIM'
    with pytest.raises(ValueError, match="model.type is 'egmim_mm.FittedEncoderDecoder', not egmim_mm.EGMIM"):
        pretraining_like(configs[1], tmp_path / 'none', False)


@pytest.mark.parametrize('way', [OURS, STOCK], ids=['ours', 'stock'])
def test_checkpoints_on_the_way_can_be_probed(configs, tmp_path, way):
    options = {'train_dataloader.batch_size' if way.stock else 'train_cfg.global_batch': 2}
    seconds = train_to_checkpoints(dict(config=configs[0], stock=way.stock, options=options, iterations=4, interval=2,
                                        seed=0, work_dir=str(tmp_path)))
    assert list(seconds) == [2, 4] and 0 < seconds[2] < seconds[4]
    weights = [torch.load(tmp_path / f'iter_{n}.pth', weights_only=True)['state_dict'] for n in seconds]
    assert (weights[0]['backbone.patch_embed.projection.weight'] !=
            weights[1]['backbone.patch_embed.projection.weight']).any()
    score = probe_checkpoint(dict(config=configs[1], source=str(tmp_path / 'iter_4.pth'), seed=0))
    assert 0 < score <= 100


def points(*values):
    return [dict(iteration=i, seconds=float(10 * i), mIoU=value) for i, value in enumerate(values)]


def test_seconds_to_a_score():
    curves = dict(ours={0: points(10, 30, 40), 1: points(10, 20, 45)}, stock={0: points(10, 15, 30),
                                                                             1: points(10, 20, 22)})
    row, = score_rows(curves, ways=(OURS, STOCK))
    assert (row.variant, row.against, row.unit, row.better) == ('ours', 'stock', 's', 'less')
    # seed 0: 30 % after 10 s against 20; seed 1: 22 % after 20 s against 20
    assert (row.ours, row.baseline, row.ratio, row.low, row.high) == (15, 20, 0.75, 0.5, 1.0)
    assert 'its last score' in row.name and '2 seed(s)' in row.name
    row, = score_rows(curves, 25, (OURS, STOCK))
    assert row.ratio is None and 'a probe of 25 % mIoU, 2 seed(s) (not reached by both in 1)' in row.name
    row, = score_rows(curves, 20, (OURS, STOCK))
    assert (row.ours, row.baseline) == (10, 15)


def test_trainings_and_probes_are_not_repeated(configs, tmp_path, monkeypatch):
    calls = []

    def child(function, argument, threads, device, log):
        calls.append(log.stem)
        if function.endswith('train_to_checkpoints'):
            return {'2': 1.5, '4': 3.0}
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 20.0 if argument['source'] == 'scratch' else 20.0 + float(argument['source'].split('_')[-1][0])

    monkeypatch.setattr(time_to_score, 'run_in_child', child)
    arguments = (tmp_path, *configs, torch.device('cpu'), 1, 4, 2)
    with pytest.raises(KeyboardInterrupt):
        measure_scores(*arguments, ways=(OURS, STOCK), say=lambda line: None)
    assert calls == ['random_weights_seed_0', 'ours_seed_0_training', 'ours_seed_0_iteration_2',
                     'ours_seed_0_iteration_4']
    curves = measure_scores(*arguments, ways=(OURS, STOCK), say=lambda line: None)
    assert calls[4:] == ['ours_seed_0_iteration_4', 'stock_seed_0_training', 'stock_seed_0_iteration_2',
                         'stock_seed_0_iteration_4']
    assert curves['ours'][0] == [dict(iteration=0, seconds=0.0, mIoU=20.0), dict(iteration=2, seconds=1.5, mIoU=22.0),
                                 dict(iteration=4, seconds=3.0, mIoU=24.0)]
    assert (tmp_path / 'curves.png').stat().st_size > 1000
    with pytest.raises(ValueError, match='4 iterations with 5 looks at the score: give an iteration for each'):
        measure_scores(tmp_path / 'new', *configs, torch.device('cpu'), 1, 4, 5)
    with pytest.raises(ValueError, match='was measured with another looks'):
        measure_scores(tmp_path, *configs, torch.device('cpu'), 1, 4, 1)


@pytest.fixture
def tools(monkeypatch):
    """Stands for tools/train.py and analyze.py; the list of what was called."""
    calls = []

    def tool(arguments, log, threads):
        calls.append(arguments)
        if arguments[0] == 'train.py':
            folder, seed = log.with_suffix(''), int(arguments[arguments.index('--seed') + 1])
            scalars = folder / 'now/vis_data/scalars.json'
            scalars.parent.mkdir(parents=True)
            loss = 2.0 + seed + ('float32' in folder.name)
            scalars.write_text(''.join(json.dumps(dict(step=n, loss=loss - n / 100, time=0.5)) + '\n'
                                       for n in (10, 20)))
            (folder / 'results.json').write_text(json.dumps(dict(phase='train')))
            return
        out = log.with_suffix('').with_suffix('') / 'probe/probe.json'
        out.parent.mkdir(parents=True)
        score = 30.0 + ('float32' in str(out))
        out.write_text(json.dumps(dict(rows=dict(it=dict(all=dict(mIoU=score))))))

    monkeypatch.setattr(equal_learning, '_tool', tool)
    return calls


def test_equal_learning_compares_runs_of_the_same_seed(tools, tmp_path):
    arguments = ('dapt.py', 'upernet.py', tmp_path, 20)
    document = compare_learning(*arguments, seeds=[0, 1], switches=['float32'], say=lambda line: None)
    assert [call[0] for call in tools] == ['train.py', 'analyze.py'] * 4
    assert 'optim_wrapper.precision=float32' in tools[2] and 'optim_wrapper.precision=float32' not in tools[0]
    assert 'train_cfg.max_iters=20' in tools[0]
    shipped, other = learning_rows(document['runs'])
    assert shipped == ('as shipped', '2', '2.3000 ± 0.7071', '-', '30.00 ± 0.00', '-', '0.500')
    assert other == ('float32', '2', '3.3000 ± 0.7071', '+1.0000 (+1.0000 to +1.0000)', '31.00 ± 0.00',
                     '+1.00 (+1.00 to +1.00)', '0.500')
    done = len(tools)
    again = compare_learning(*arguments, seeds=[0, 1], switches=['float32'], say=lambda line: None)
    assert len(tools) == done and again['runs'] == document['runs']
    page, picture = write_learning(document, tmp_path / 'page.md', 'the command')
    assert '| float32 | 2 | 3.3000 ± 0.7071 |' in page.read_text() and picture.stat().st_size > 1000
    assert json.loads((tmp_path / 'equal_learning.json').read_text())['runs']['float32']['1']['probe'] == 31.0


@pytest.mark.parametrize('options, message', [
    (dict(switches=['float64']), "unknown switch 'float64': there are as shipped, float32"),
    (dict(steps=3), '3 steps, 1 jobs, 3 seeds: give at least 20 steps'),
    (dict(jobs=0), '0 jobs'),
])
def test_what_equal_learning_cannot_do(tools, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        compare_learning('dapt.py', 'upernet.py', tmp_path, **options)
    assert tools == []
