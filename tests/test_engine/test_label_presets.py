"""--budget and its presets: what they set, and what they refuse."""
import numpy as np
import pytest
from mmengine.config import Config

from egmim_mm.checks import LaunchError
from egmim_mm.checks.readout_checks import check_readout
from egmim_mm.engine import label_presets
from egmim_mm.engine.label_presets import choose_preset, preset_names, tell_preset
from egmim_mm.engine.launch import load_config

CONFIG = """
_base_ = ['{root}/configs/_base_/models/upernet_swin-nano.py', '{root}/configs/_base_/datasets/segmentation.py',
          '{root}/configs/_base_/schedules/finetune.py', '{root}/configs/_base_/segmentation_runtime.py']
train_dataloader = dict(dataset=dict(
    data_root={data!r}, data_prefix=dict(img_path='images', seg_map_path='masks'), img_suffix='.png',
    source_pattern='(.)', metainfo=dict(classes=('a', 'b', 'c', 'd', 'e'))))
dev_tiles = ['d_*']
label_presets = [
    dict(name='two', up_to=2, settings=dict(
        train_cfg=dict(max_iters=20), model=dict(backbone=dict(drop_path_rate=0.1)),
        optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1, momentum=0.9),
                           paramwise_cfg=dict(custom_keys={{'backbone.stages.0': dict(lr_mult=0.0)}})))),
    dict(name='more', up_to=5, settings=dict(
        train_cfg=dict(max_iters=50), param_scheduler=[dict(type='PolyLR', by_epoch=False, begin=0.5, end=1.0)],
        custom_hooks=[dict(type='EMAHook', momentum=0.01)],
        model=dict(auxiliary_head=None, test_cfg=dict(_delete_=True, mode='whole')))),
    dict(name='all', settings=dict())]
"""


@pytest.fixture
def config(tmp_path, write_image, request):
    """Path of a config of eight tiles from four sources."""
    for name in [f'{source}_{number}' for source in 'abcd' for number in (0, 1)]:
        write_image(tmp_path / f'data/images/{name}.png', np.zeros((8, 8, 3), np.uint8))
        write_image(tmp_path / f'data/masks/{name}.png', np.zeros((8, 8), np.uint8))
    path = tmp_path / 'toy.py'
    path.write_text(CONFIG.format(root=request.config.rootpath, data=str(tmp_path / 'data')))
    return path


def loaded(config, budget, preset=None, dev=False, **options):
    return load_config(str(config), options={key.replace('__', '.'): value for key, value in options.items()} or None,
                       budget=budget, preset=preset, dev=dev)


def test_the_preset_of_a_budget_is_merged_as_a_child_config_would_be(config):
    cfg = loaded(config, '2')
    assert (cfg.train_dataloader.sampler.budget, cfg.train_cfg.max_iters) == (2, 20)
    assert dict(cfg.optim_wrapper.optimizer) == dict(type='SGD', lr=0.1, momentum=0.9)
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    assert keys['backbone.stages.0'] == dict(lr_mult=0.0) and 'logit_scale' in keys  # beside the config's
    assert cfg.label_preset.name == 'two' and (cfg.label_preset.budget, cfg.label_preset.tiles) == (2, 2)
    assert cfg.label_preset.settings.train_cfg == dict(max_iters=20)
    assert cfg.label_preset.settings.optim_wrapper.optimizer._delete_  # as the preset says it
    # drop_path_rate is 0.1 in the config already
    assert 'model.backbone.drop_path_rate' not in cfg.label_preset.changes
    assert cfg.label_preset.changes['train_cfg.max_iters'] == 20
    assert Config.fromstring(cfg.pretty_text, '.py').label_preset == cfg.label_preset  # as the run saves it


def test_lists_and_parts_are_replaced(config):
    cfg = loaded(config, '5')
    assert cfg.param_scheduler == [dict(type='PolyLR', by_epoch=False, begin=25, end=50)]
    assert cfg.custom_hooks == [dict(type='EMAHook', momentum=0.01)]
    assert dict(cfg.model.test_cfg) == dict(mode='whole') and cfg.model.auxiliary_head is None


def test_a_mark_where_there_is_nothing_to_delete_does_not_stay(config):
    own = [dict(name='own', settings=dict(
        env_cfg=dict(resource_limit=4096), default_hooks=dict(ema=dict(_delete_=True, type='EMAHook')),
        model=dict(decode_head=dict(_delete_=True, type='x', loss_decode=dict(_delete_=True, type='y')))))]
    cfg = loaded(config, '2', label_presets=own)
    assert dict(cfg.default_hooks.ema) == dict(type='EMAHook')
    assert dict(cfg.model.decode_head) == dict(type='x', loss_decode=dict(type='y'))


@pytest.mark.parametrize(('budget', 'tiles', 'name', 'recorded'), [
    ('2', 2, 'two', 2), ('25%', 2, 'two', '25%'), ('31.3%', 3, 'more', '31.3%'), ('8', 8, 'all', 8),
    ('100%', 8, 'all', '100%'), ('1%', 1, 'two', '1%')])
def test_shares_count_the_training_tiles_as_the_sampler_rounds(config, budget, tiles, name, recorded):
    preset = loaded(config, budget).label_preset
    assert (preset.tiles, preset.name, preset.budget) == (tiles, name, recorded)


def test_what_else_decides_how_many_tiles_there_are(config):
    assert loaded(config, '50%', dev=True).label_preset.tiles == 3  # of six
    assert loaded(config, '50%', train_dataloader__dataset__include='a_*').label_preset.tiles == 1
    by_source = loaded(config, '2', train_dataloader__sampler__unit='source')
    assert by_source.label_preset.tiles == 4 and by_source.label_preset.name == 'more'
    with pytest.raises(ValueError, match='label budget 7 is larger than the data, which has 6 tiles'):
        loaded(config, '7', dev=True)


def test_options_of_the_command_line_win(config):
    cfg = loaded(config, '2', train_cfg__max_iters=7, optim_wrapper__optimizer__momentum=0.5)
    assert cfg.train_cfg.max_iters == 7
    assert dict(cfg.optim_wrapper.optimizer) == dict(type='SGD', lr=0.1, momentum=0.5)
    assert loaded(config, '2', label_presets=[dict(name='own', settings=dict(train_cfg=dict(max_iters=3)))]
                  ).train_cfg.max_iters == 3


def test_another_preset_or_none(config):
    assert loaded(config, '2', 'all').label_preset.name == 'all'
    cfg = loaded(config, '2', 'none')
    assert cfg.train_dataloader.sampler.budget == 2 and cfg.train_cfg.max_iters == 4000
    assert cfg.label_preset.name is None and cfg.label_preset.settings == {}
    with pytest.raises(LaunchError, match="--preset x: there are 'two', 'more', 'all' and 'none'"):
        loaded(config, '2', 'x')
    with pytest.raises(LaunchError, match='--preset two says how to train with a --budget: give both'):
        loaded(config, None, 'two')


def test_one_line_tells_what_was_done(config, monkeypatch):
    said = []
    monkeypatch.setattr(label_presets, 'print_log', lambda message, **options: said.append(message))
    tell_preset(load_config(str(config)))
    tell_preset(loaded(config, '12.5%', train_cfg__max_iters=7))
    tell_preset(loaded(config, '8'))
    tell_preset(loaded(config, '3', 'none'))
    assert said[0].startswith("Budget 12.5%: 1 labelled tile, 7 iterations; preset 'two', which sets "
                              'train_cfg.max_iters=20, optim_wrapper.optimizer._delete_=True')
    assert said[1:] == ["Budget 8: 8 labelled tiles, 4000 iterations; preset 'all', which sets nothing anew",
                        'Budget 3: 3 labelled tiles, 4000 iterations; no preset']


@pytest.mark.parametrize(('budget', 'says'), [
    ('0', 'label budget 0 labels nothing: give at least 1 tile'), ('-2', 'label budget -2 labels nothing'),
    ('9', 'label budget 9 is larger than the data, which has 8 tiles'), ('0%', 'label budget 0% is outside'),
    ('200%', r'label budget 200% is outside \(0 %, 100 %\]'), ('-5%', 'label budget -5% is outside'),
    ('nan%', 'label budget nan% is outside'), ('two', "label budget 'two' is not a number or a percentage"),
    ('', "label budget '' is not a number"), ('%', "label budget '%' is not a number")])
def test_budgets_that_are_none(config, budget, says):
    with pytest.raises(ValueError, match=says):
        loaded(config, budget)


def test_configs_whose_labels_no_budget_chooses(config, request):
    root = request.config.rootpath
    with pytest.raises(LaunchError, match='egmim_dapt_dubai.py has no model.decode_head: it pretrains, which reads no'):
        loaded(root / 'configs/egmim_dapt_dubai.py', '2')
    with pytest.raises(LaunchError, match='sampler.budget both say how many tiles are labelled: give one'):
        loaded(config, '2', train_dataloader__sampler__budget=3)
    text = config.read_text()
    config.write_text(text + "train_dataloader = dict(sampler=dict(_delete_=True, type='InfiniteSampler'))\n")
    with pytest.raises(LaunchError, match='but train_dataloader.sampler is InfiniteSampler: set train_dataloader'):
        loaded(config, '2')
    config.write_text(text + 'label_presets = None\n')
    with pytest.raises(LaunchError, match='--budget needs a list of presets, label_presets, in the config'):
        loaded(config, '2')


SET = dict(settings={})


@pytest.mark.parametrize(('presets', 'says'), [
    ([], 'needs a list of presets'), ('two', 'needs a list of presets'),
    ([dict(name='a')], "label_presets.0 is .*'a'.*: give dict"), ([dict(SET, name='a', upto=3)], 'give dict'),
    ([dict(SET, name='a', up_to=3)], 'label_presets.0.up_to is 3: .* none in the last preset'),
    ([dict(SET, name='a'), dict(SET, name='b')], 'label_presets.0.up_to is None'),
    ([dict(SET, name='a', up_to=3), dict(SET, name='b', up_to=3), dict(SET, name='c')], 'numbers of tiles that ascend'),
    ([dict(SET, name='a', up_to='3'), dict(SET, name='b')], 'label_presets.0.up_to is 3'),
    ([dict(SET, name='a', up_to=3), dict(SET, name='a')], "label_presets.1.name 'a' is taken"),
    ([dict(SET, name='none')], "label_presets.0.name 'none' is taken"),
    ([dict(SET, name='a', alternatives=[dict(SET, name='a')])], "label_presets.0.name 'a' is taken"),
    ([dict(SET, name='a', alternatives=[dict(SET, name='b', up_to=3)])], 'label_presets.0.alternatives.0 is .*give'),
    ([dict(SET, name='a', up_to=2, alternatives=[dict(name='b', settings=dict(x=1))]), dict(SET, name='b')],
     "label_presets.1.name 'b' is taken")])
def test_presets_that_are_none(presets, says):
    with pytest.raises(LaunchError, match=says):
        choose_preset(presets, 2)


def test_alternatives_are_presets_of_their_own_and_may_be_those_of_other_budgets():
    few = dict(SET, name='few')
    presets = [dict(few, up_to=3, alternatives=[dict(name='other', settings=dict(x=1))]),
               dict(SET, name='many', alternatives=[few])]
    assert preset_names(presets, 3) == ['few', 'other'] and preset_names(presets, 4) == ['many', 'few']
    assert choose_preset(presets, 9, 'other') == ('other', dict(x=1))


def test_a_setting_that_nothing_reads_is_refused(config):
    with pytest.raises(LaunchError, match="^label_presets, 'own': train_cfg.max_iter: .*did you mean train_cfg.max_i"):
        loaded(config, '2', label_presets=[dict(name='own', settings=dict(train_cfg=dict(max_iter=3)))])


@pytest.mark.parametrize('name', ['upernet_dubai', 'upernet_isaid', 'dubai_cpu/upernet', 'quickstart/upernet'])
def test_shipped_presets_fit_the_configs(name, request, monkeypatch):
    monkeypatch.setattr(label_presets, '_labelled_tiles', lambda *arguments: tiles)
    for tiles in (1, 15, 16, 100, 101):
        cfg = loaded(request.config.rootpath / f'configs/{name}.py', '1')
        assert cfg.label_preset.name == {1: 'read-out', 16: 'tens of tiles', 101: 'hundreds of tiles'}[
            max(n for n in (1, 16, 101) if n <= tiles)]
        assert cfg.train_cfg.max_iters > 0
        check_readout(cfg)
        assert (cfg.model.decode_head.type == 'egmim_mm.ReadoutHead') == (tiles <= 15)
        for other in preset_names(cfg.label_presets, tiles)[1:] if tiles in (1, 16) else ():
            check_readout(loaded(request.config.rootpath / f'configs/{name}.py', '1', other))
