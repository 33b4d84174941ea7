"""Settings read back from the text that MMEngine saves in a checkpoint, and the model of a budget's preset."""
import pytest
from mmengine.config import Config

from egmim_mm.checkpoints import recorded_config
from egmim_mm.checkpoints.recorded_config import parse_settings, take_preset_model


def text(**settings):
    return Config(settings).pretty_text


def test_every_kind_of_value_comes_back():
    settings = dict(model=dict(type='A', size=(64, 64), names=['x', "it's"], mean=[1.5, -2e-5], none=None, flag=True,
                               keys={'a.b': dict(lr_mult=0.1), 3: 'three'}, long='word ' * 40, deep=[[1, 2], (3, )],
                               infinite=float('inf'), below=-float('inf')), work_dir='x')
    assert parse_settings(text(**settings)) == settings


@pytest.mark.parametrize('bad', ['import os', 'a = open("x")', 'a = dict(__import__("os"))', 'a.b = 1', 'a = (',
                                 'a = b', 'a = -b', 'a = dict(x=[].append(1))', 'a = dict([1])', 'a = {[1]: 2}'])
def test_nothing_in_the_text_is_executed(bad):
    with pytest.raises(ValueError):
        parse_settings(bad)


PRESET = dict(name='few', budget='5%', settings=dict(model=dict(type='B')))


def test_the_model_of_a_preset_is_taken(monkeypatch):
    said = []
    monkeypatch.setattr(recorded_config, 'print_log', lambda message, **options: said.append(message))
    cfg = Config(dict(model=dict(type='A', size=1), data='x'))
    take_preset_model(cfg, dict(meta=dict(cfg=text(model=dict(type='B', size=(2, 3)), data='y', label_preset=PRESET))),
                      'work/last.pth')
    assert cfg.to_dict() == dict(model=dict(type='B', size=(2, 3)), data='x')
    assert said == ["work/last.pth is of a run with --budget 5%, whose preset 'few' changed the model: it is built as "
                    'in that run, not as in the config']


@pytest.mark.parametrize('checkpoint', [
    {}, dict(meta=None), dict(meta=dict(cfg=None)), dict(meta=dict(cfg='import os')),
    dict(meta=dict(cfg=text(model=dict(type='B')))),
    dict(meta=dict(cfg=text(model=dict(type='B'), label_preset=dict(PRESET, settings=dict(train_cfg=dict(a=1))))))])
def test_other_checkpoints_change_nothing(checkpoint):
    cfg = Config(dict(model=dict(type='A')))
    take_preset_model(cfg, checkpoint, 'last.pth')
    assert cfg.to_dict() == dict(model=dict(type='A'))


def test_the_config_of_a_run_stays_as_it_is():
    cfg = Config(dict(model=dict(type='A'), label_preset=dict(PRESET, name='other')))
    take_preset_model(cfg, dict(meta=dict(cfg=text(model=dict(type='B'), label_preset=PRESET))), 'last.pth')
    assert cfg.model == dict(type='A')
