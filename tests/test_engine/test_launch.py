"""From a config and options to a Runner."""
import pytest
import torch
from mmengine.config import Config

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.checks import LaunchError
from egmim_mm.engine import console_runner, starting
from egmim_mm.engine.device import adapt_to_device
from egmim_mm.engine.launch import load_config, settle_learning_rate, settle_schedule
from egmim_mm.engine.starting import start_or_resume


def schedule(max_iters, *schedulers):
    cfg = Config(dict(train_cfg=dict(max_iters=max_iters), param_scheduler=list(schedulers)))
    settle_schedule(cfg)
    return [(s['type'], s.get('begin'), s.get('end')) for s in cfg.param_scheduler]


WARM_UP = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0.0, end=0.1)
COSINE = dict(type='CosineAnnealingLR', by_epoch=False, begin=0.1, end=1.0)


def test_shares_become_iterations():
    assert schedule(1000, WARM_UP, COSINE) == [('LinearLR', 0, 100), ('CosineAnnealingLR', 100, 1000)]
    assert schedule(25, WARM_UP, COSINE) == [('LinearLR', 0, 2), ('CosineAnnealingLR', 2, 25)]


def test_tiny_runs_have_no_warm_up():
    assert schedule(10, WARM_UP, COSINE) == [('CosineAnnealingLR', 1, 10)]
    assert schedule(1, WARM_UP, COSINE) == []


def test_iterations_and_open_ends_are_left_alone():
    assert schedule(1000, dict(type='PolyLR', begin=5, end=70), dict(type='ConstantLR')) == [
        ('PolyLR', 5, 70), ('ConstantLR', None, None)]


def test_no_schedule():
    cfg = Config(dict(train_cfg=dict(max_iters=10)))
    settle_schedule(cfg)
    assert cfg.param_scheduler == []


@pytest.fixture
def config(tmp_path):
    """Path of a config with a schedule in shares."""
    path = tmp_path / 'experiment.py'
    path.write_text(f'train_cfg = dict(max_iters=1000)\nparam_scheduler = [{WARM_UP!r}]\n'
                    "model = dict(backbone=dict(type='egmim_mm.MaskedSwinTransformer'))\n")
    return str(path)


def test_load_config(config, tmp_path):
    cfg = load_config(config)
    assert cfg.work_dir == 'work_dirs/experiment' and cfg.param_scheduler[0]['end'] == 100
    # options come first, so the schedule follows them
    cfg = load_config(config, str(tmp_path / 'here'), {'train_cfg.max_iters': 50})
    assert cfg.work_dir == str(tmp_path / 'here') and cfg.param_scheduler[0]['end'] == 5


def test_a_rate_among_the_options_is_meant_as_it_stands(config):
    with open(config, 'a') as file:
        file.write('lr_factor_from_scratch = 2.0\noptim_wrapper = dict(optimizer=dict(lr=1e-4))\n')
    given = load_config(config, options={'optim_wrapper.optimizer.lr': 5e-4})
    for cfg, rate in ((load_config(config), 2e-4), (given, 5e-4)):
        settle_learning_rate(cfg, from_scratch=True)
        assert (cfg.optim_wrapper.optimizer.lr, cfg.lr_factor_from_scratch) == (rate, 1.0)
    cfg = load_config(config)
    settle_learning_rate(cfg, from_scratch=False)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.lr_factor_from_scratch) == (1e-4, 2.0)


@pytest.fixture
def started(tmp_path):
    """Work dir of a run that saved a checkpoint."""
    folder = tmp_path / 'started'
    folder.mkdir()
    lineage = [dict(experiment='gppt', iterations=2, source=None)]
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=dict(lineage=lineage, epoch=0, iter=2), message_hub={}),
               folder / 'iter_2.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_2.pth'))
    return folder


def start(config, work_dir, **options):
    cfg = load_config(config, str(work_dir))
    start_or_resume(cfg, **options)
    return cfg


def test_new_run(config, tmp_path):
    cfg = start(config, tmp_path / 'new')
    assert not cfg.get('resume') and 'init_cfg' not in cfg.model.backbone and 'backbone_source' not in cfg


def test_new_run_from_backbone_weights(config, tmp_path, started):
    cfg = start(config, tmp_path / 'new', backbone=str(started))
    path = str(started / 'iter_2.pth')
    assert cfg.model.backbone.init_cfg == dict(type='egmim_mm.BridgedCheckpoint', source=path)
    assert cfg.backbone_source.path == path and len(cfg.backbone_source.sha256) == 64
    assert cfg.backbone_source.lineage[0].experiment == 'gppt'
    assert not cfg.get('resume')
    reloaded = Config.fromstring(cfg.pretty_text, '.py')  # as the run saves it
    assert reloaded.backbone_source.sha256 == cfg.backbone_source.sha256


def test_partial_and_trusted_backbones(config, tmp_path, started):
    cfg = start(config, tmp_path / 'new', backbone=str(started), allow_partial=True, trust=True)
    assert cfg.model.backbone.init_cfg == dict(
        type='egmim_mm.BridgedCheckpoint', source=str(started / 'iter_2.pth'), allow_partial=True, trust=True)
    assert cfg.trust_checkpoint is True
    with pytest.raises(LaunchError, match='--allow-partial is about --backbone'):
        start(config, tmp_path / 'new', allow_partial=True)


def test_heads_come_along_where_the_config_says_so(config, tmp_path, started):
    terms = [dict(type='egmim_mm.PixelTerm')]
    path = str(started / 'iter_2.pth')
    for number, (carry, own, wanted) in enumerate([
            (True, None, dict(type='egmim_mm.CarriedHeads', source=path)), (False, None, None),
            (True, dict(type='Pretrained', checkpoint='x'), dict(type='Pretrained', checkpoint='x'))]):
        cfg = load_config(config, str(tmp_path / f'{number}'), {'model.terms': terms})
        cfg.carry_heads, cfg.model.init_cfg = carry, own
        start_or_resume(cfg, backbone=str(started))
        assert cfg.model.init_cfg == wanted


def test_backbone_from_an_address(config, tmp_path, started, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    address = (started / 'iter_2.pth').resolve().as_uri()
    cfg = start(config, tmp_path / 'new', backbone=address)
    assert cfg.backbone_source.url == address
    assert cfg.model.backbone.init_cfg.source == cfg.backbone_source.path != str(started / 'iter_2.pth')


def test_resume(config, started):
    cfg = start(config, started, resume=True)
    assert cfg.resume is True and cfg.load_from == str(started / 'iter_2.pth')
    cfg = start(config, started, resume=str(started / 'iter_2.pth'))
    assert cfg.resume is True and cfg.load_from == str(started / 'iter_2.pth')


def test_contradictions_and_overwriting_are_refused(config, tmp_path, started):
    with pytest.raises(LaunchError, match='--resume goes on with an interrupted run, --backbone starts a new one'):
        start(config, started, resume=True, backbone=str(started))
    for backbone in (None, str(started)):
        with pytest.raises(LaunchError, match='started holds the checkpoints of an earlier run: add --resume'):
            start(config, started, backbone=backbone)
    with pytest.raises(LaunchError, match='gone.pth: no such checkpoint file'):
        start(config, started, resume=str(tmp_path / 'gone.pth'))
    with pytest.raises(CheckpointError, match='gone does not exist'):
        start(config, tmp_path / 'new', backbone=str(tmp_path / 'gone'))


def test_anchor_needs_weights_to_hold_on_to(config, tmp_path, started):
    def anchored(work_dir, init_cfg=None, **options):
        terms = [dict(type='egmim_mm.PixelTerm'), dict(type='egmim_mm.AnchorTerm')]
        cfg = load_config(config, str(work_dir), {'model.terms': terms})
        cfg.model.backbone.init_cfg = init_cfg
        start_or_resume(cfg, **options)

    for nothing in (None, dict(type='TruncNormal', layer='Linear'), [dict(type='Constant', layer='LayerNorm', val=1)]):
        with pytest.raises(LaunchError, match='AnchorTerm .* would be random: give --backbone .* or leave it out'):
            anchored(tmp_path / 'new', nothing)
    anchored(tmp_path / 'new', backbone=str(started))
    path = str(started / 'iter_2.pth')
    anchored(tmp_path / 'new', dict(type='Pretrained', checkpoint=path))
    anchored(tmp_path / 'new', [dict(type='egmim_mm.BridgedCheckpoint', source=path)])
    anchored(started, resume=True)  # the teacher is in the checkpoint


def device_config(**optim_wrapper):
    norm = dict(type='SyncBN', requires_grad=True)
    return Config(dict(
        model=dict(decode_head=dict(norm_cfg=norm), heads=[dict(norm_cfg=dict(norm)), dict(deep=(dict(norm), ))]),
        env_cfg=dict(dist_cfg=dict(backend='nccl')),
        optim_wrapper=dict(dict(type='OptimWrapper', optimizer=dict(type='SGD'), clip_grad=dict(max_norm=5)),
                           **optim_wrapper)))


@pytest.fixture(params=[False, True], ids=['cpu', 'gpu'])
def gpu(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: request.param)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda **_: True)
    return request.param


def test_batch_norm_follows_the_device(gpu):
    cfg = device_config()
    adapt_to_device(cfg)
    name = 'SyncBN' if gpu else 'BN'
    assert cfg.model.decode_head.norm_cfg == dict(type=name, requires_grad=True)
    assert cfg.model.heads[0].norm_cfg.type == name and cfg.model.heads[1].deep[0]['type'] == name
    assert ('SyncBN' in cfg.pretty_text) == gpu
    assert cfg.launcher == 'none' and cfg.env_cfg.dist_cfg.backend == 'nccl' and 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize('amp, start', [(True, 'OptimWrapper'), (False, 'AmpOptimWrapper'), (True, 'AmpOptimWrapper')])
def test_mixed_precision_follows_the_device(gpu, amp, start):
    cfg = device_config(**(dict(type=start) if start == 'OptimWrapper' else dict(type=start, dtype='float16',
                                                                                 loss_scale='dynamic')))
    adapt_to_device(cfg, amp=amp)
    expected = dict(optimizer=dict(type='SGD'), clip_grad=dict(max_norm=5))
    if gpu and not amp:  # MMEngine's own, as the config has it
        expected |= dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
    else:
        expected |= dict(type='egmim_mm.AutocastOptimWrapper', precision='bfloat16' if amp else 'auto')
    assert cfg.optim_wrapper == expected


@pytest.mark.parametrize('gain, expected', [(2.0, 'bfloat16'), (1.1, 'float32')])
def test_automatic_precision_is_measured_and_logged(monkeypatch, gain, expected):
    said = []
    monkeypatch.setattr('egmim_mm.precision._cpu_gain', lambda: gain)
    monkeypatch.setattr('egmim_mm.engine.device.print_log', lambda text, **_: said.append(text))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = device_config(type='egmim_mm.AutocastOptimWrapper', precision='auto')
    cfg.val_cfg, cfg.test_cfg = dict(type='ValLoop'), dict(type='TestLoop', fp16=False)
    adapt_to_device(cfg)
    assert len(said) == 1 and said[0].startswith(f'Precision: {expected} on the cpu (')
    assert cfg.optim_wrapper.precision == 'auto'  # the config that is saved may be used on another machine
    assert cfg.val_cfg.fp16 == (expected == 'bfloat16') and cfg.test_cfg.fp16 is False


def test_one_slow_process_makes_all_use_full_precision(monkeypatch):
    monkeypatch.setattr('egmim_mm.precision._cpu_gain', lambda: 2.0)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda votes, op: votes.zero_())
    cfg = device_config(type='egmim_mm.AutocastOptimWrapper', precision='auto')
    adapt_to_device(cfg)
    assert cfg.optim_wrapper.precision == 'float32'


def test_unknown_precision():
    with pytest.raises(ValueError, match="precision must be one of auto, bfloat16, float32, got 'half'"):
        adapt_to_device(device_config(type='egmim_mm.AutocastOptimWrapper', precision='half'))


def test_full_precision_stays(gpu):
    cfg = device_config()
    adapt_to_device(cfg)
    assert cfg.optim_wrapper.type == 'OptimWrapper' and 'dtype' not in cfg.optim_wrapper


def test_distributed_without_a_gpu_uses_gloo(gpu, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: False)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda *args: calls.append(args))
    cfg = device_config()
    adapt_to_device(cfg, launcher='pytorch')
    assert cfg.launcher == 'pytorch'
    if gpu:
        assert calls == [] and cfg.env_cfg.dist_cfg.backend == 'nccl' and 'model_wrapper_cfg' not in cfg
    else:
        assert calls == [('gloo', )] and cfg.env_cfg.dist_cfg.backend == 'gloo'
        assert cfg.model_wrapper_cfg.device_ids is None


@pytest.mark.parametrize('given, kept', [({}, {}), (dict(env_cfg=None), {}),
                                         (dict(env_cfg=dict(cudnn_benchmark=True)), dict(cudnn_benchmark=True))])
def test_gloo_for_a_config_that_names_no_backend(monkeypatch, given, kept):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda *args: None)
    cfg = Config(given)
    adapt_to_device(cfg, launcher='pytorch')
    assert cfg.env_cfg == dict(kept, dist_cfg=dict(backend='gloo'))


def test_console_is_spared_the_dumps_and_the_file_is_not(tmp_path, capfd):
    runner = console_runner.ConsoleRunner(
        model=torch.nn.Linear(1, 1), work_dir=str(tmp_path), experiment_name='test_launch_console',
        cfg=Config(dict(marker_of_the_config=1)))
    for message in ('Hooks will be executed in the following order:', 'an ordinary line'):
        runner.logger.info(message)
    console = ''.join(capfd.readouterr())
    file = next(tmp_path.rglob('*.log')).read_text()
    for text in ('marker_of_the_config', 'System environment', 'Hooks will be executed'):
        assert text in file and text not in console
    assert 'an ordinary line' in file and 'an ordinary line' in console


@pytest.mark.parametrize(('setting', 'named'), [
    ("model['backbone']['frozen_stages'] = 0", 'model.backbone.frozen_stages=0'),
    ("optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.0)}))",
     "optim_wrapper.paramwise_cfg.custom_keys['backbone'].lr_mult=0"),
    ("custom_hooks = [dict(type='EMAHook'), dict(type='egmim_mm.FrozenBackboneHook', until=0.5)]",
     'FrozenBackboneHook (custom_hooks.1)'),
    ("train_cfg = dict(_delete_=True, type='egmim_mm.ReadoutLoop')", 'train_cfg.type=egmim_mm.ReadoutLoop'),
    ("model['backbone']['frozen_stages'] = -1", None),
    ("optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))", None)])
def test_a_frozen_backbone_without_weights_is_said(config, tmp_path, started, monkeypatch, setting, named):
    said = []
    monkeypatch.setattr(starting, 'print_log', lambda message, **options: said.append(message))
    with open(config, 'a') as file:
        file.write(setting)
    starting.warn_of_random_features(start(config, tmp_path / 'new', backbone=str(started)))
    assert said == []
    starting.warn_of_random_features(start(config, tmp_path / 'new'))
    assert said == ([f'{named} keeps the backbone as it is, and its weights are random: the head learns from random '
                     'features. Give --backbone, or let it learn'] if named else [])
