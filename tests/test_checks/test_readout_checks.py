"""A read-out and the loop that fits it belong together."""
from copy import deepcopy
from pathlib import Path

import pytest

from egmim_mm.checks import LaunchError, check_option_names
from egmim_mm.checks.config_checks import check_testing, check_training
from egmim_mm.checks.head_checks import check_batch
from egmim_mm.engine.launch import load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
HEAD = {'model.decode_head': dict(_delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4],
                                  groups=[[0, 1, 2, 3], [4]]),
        'model.auxiliary_head': None, 'model.pixel_features': dict(scale=0.5)}
LOOP = {'train_cfg': dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=20_000, classifiers=[
    dict(type='discriminant', shrinkage=0.1), dict(type='logistic', l2=1e-3)])}


def config(name, **settings):
    return load_config(str(CONFIGS / f'{name}.py'), options=deepcopy(settings))  # merging takes _delete_ out


@pytest.mark.parametrize('name, classes', [('upernet_vaihingen', 5), ('upernet_loveda', 7), ('dubai_cpu/upernet', 5)])
def test_settings_turn_any_fine_tuning_into_a_read_out(name, classes):
    cfg = config(name, **HEAD, **LOOP)
    check_training(cfg)
    check_testing(cfg)
    check_batch(cfg)
    assert cfg.model.decode_head.num_classes == classes and 'pool_scales' not in cfg.model.decode_head
    assert cfg.train_cfg.max_iters == 1 and 'global_batch' not in cfg.train_cfg and cfg.param_scheduler == []


def test_their_names_pass_one_by_one():
    flat = {f'{part}.{key}': value for part, settings in {**HEAD, **LOOP}.items() if settings
            for key, value in settings.items()}
    check_option_names(config('upernet_dubai'), flat | {'model.auxiliary_head': None})


@pytest.mark.parametrize('settings, says', [
    (HEAD, 'ReadoutHead is fitted at once, not trained by gradients, as GlobalBatchLoop would: set train_cfg='),
    (LOOP, 'it would leave model.decode_head, model.auxiliary_head untrained: set model.decode_head=dict('),
    ({key: one for key, one in {**HEAD, **LOOP}.items() if key != 'model.auxiliary_head'},
     'it would leave model.auxiliary_head untrained'),
])
def test_half_a_read_out_is_refused(settings, says):
    with pytest.raises(LaunchError) as caught:
        check_training(config('upernet_dubai', **settings))
    assert says in str(caught.value) and '\n' not in str(caught.value)
