"""Runs that are timed: the stock ones are stock and train what ours train."""
import pytest

from egmim_mm.benchmark.training import Stopwatch, measure
from egmim_mm.benchmark.training_configs import TOY_ARCH, training_config
from egmim_mm.registry import MODELS
from egmim_mm.synthetic import write_dataset


@pytest.fixture(scope='module')
def tiles(tmp_path_factory):
    root = tmp_path_factory.mktemp('tiles')
    write_dataset(root, 4, 2, 4, 96)
    return root


def job(tiles, phase, **options):
    model = dict(pretrain='egmim_swin-pico.py', finetune='upernet_swin-pico.py')[phase]
    return dict(phase=phase, model=model, size=64, batch=2, workers=0, tiles=str(tiles), tile=96, steps=3,
                images=str(tiles / 'img_dir/unlabeled'), backbone=dict(arch=TOY_ARCH, window_size=2), **options)


@pytest.mark.parametrize('phase, kind', [('pretrain', 'SimMIM'), ('finetune', 'EncoderDecoder')])
def test_stock_is_stock_and_has_the_same_model_and_batch(tiles, phase, kind):
    ours, stock = (training_config(job(tiles, phase), which) for which in (False, True))
    assert stock.model.type == kind and stock.optim_wrapper.type == 'OptimWrapper'
    assert 'egmim_mm' not in stock.dump() and 'egmim_mm' in ours.dump()
    assert stock.optim_wrapper.optimizer.type == ours.optim_wrapper.optimizer.type == 'AdamW'
    assert stock.train_cfg.max_iters == ours.train_cfg.max_iters == 3
    assert stock.train_dataloader.batch_size == 2 and stock.val_dataloader is None
    for model in (ours.model, stock.model):  # as without a GPU
        for name in ('decode_head', 'auxiliary_head'):
            if name in model:
                model[name].norm_cfg.type = 'BN'
    built = [MODELS.build(dict(cfg.model)) for cfg in (ours, stock)]
    shallow = 2 * (16 + 32 if phase == 'pretrain' else 0)  # norms of the stages that EGMIM reads and SimMIM does not
    sizes = [sum(p.numel() for p in model.backbone.parameters()) for model in built]
    assert sizes[0] == sizes[1] + shallow
    if phase == 'finetune':
        for name in ('decode_head', 'auxiliary_head'):
            shapes = [sorted(tuple(p.shape) for p in getattr(model, name).parameters()) for model in built]
            assert shapes[0] == shapes[1]


@pytest.mark.parametrize('phase', ['pretrain', 'finetune'])
def test_a_run_is_timed(tiles, phase):
    results = [measure(job(tiles, phase, stock=stock, warmup=1, timed=2, alone=2, count=True))
               for stock in (False, True)]
    for result in results:
        assert result['images_per_s'] > 0 and result['alone_images_per_s'] > 0 and 0 < result['data_wait'] < 1
        assert isinstance(result['peak_bytes'], int) and result['flops'] > 1e6
    if phase == 'finetune':
        assert results[0]['flops'] == results[1]['flops']  # the same arithmetic
    else:
        assert results[0]['flops'] > results[1]['flops']  # of the structure head


def test_the_stopwatch_counts_iterations_after_the_first_ones(monkeypatch):
    now = [0.0]
    monkeypatch.setattr('egmim_mm.benchmark.training.time.perf_counter', lambda: now[0])
    watch = Stopwatch(2, lambda: now[0])

    class Runner:
        iter, max_iters = 0, 5

    for number in range(5):
        Runner.iter = number
        now[0] += 1  # the loader
        watch.before_train_iter(Runner, number, data_batch=number)
        now[0] += 3  # the step
        watch.after_train_iter(Runner, number)
    assert (watch.seconds, watch.waited, watch.batch) == (3 * 4, 3 * 1, 4)
