"""tools/train.py --select cv: presets compared on labelled tiles alone."""
import json
from types import SimpleNamespace

import pytest
from mmengine.registry import DefaultScope

from egmim_mm.engine.launch import load_config
from egmim_mm.registry import DATA_SAMPLERS, DATASETS

CONFIG = """
_base_ = '{upernet}'
__model = dict(pixel_features=dict(scale=0.5), auxiliary_head=None)
__head = dict(_delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4], groups=[[0, 1, 2, 3], [4]])
__loop = dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=300)
__both = [dict(type='discriminant', shrinkage=0.1), dict(type='logistic', l2=1e-3)]
optim_wrapper = dict(precision='float32')
train_dataloader = dict(dataset=dict(data_root='{data}'))
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = dict(dataset=dict(data_root='{data}'))
dev_tiles = ['6', '7']
label_presets = [
    dict(name='vague', up_to=4, settings=dict(
        model=dict(**__model, decode_head=dict(__head, in_index=[3], groups=[[3]])),
        train_cfg=dict(**__loop, classifiers=[dict(type='discriminant', shrinkage=1.0)])), alternatives=[
        dict(name='sharp', settings=dict(
            model=dict(**__model, decode_head=__head), train_cfg=dict(**__loop, classifiers=__both))),
        dict(name='short training', settings=dict(train_cfg=dict(max_iters=4)))]),
    dict(name='all', settings=dict())]
"""


def labelled(config, budget):
    cfg = load_config(str(config), budget=budget, dev=True, preset='all')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        return DATA_SAMPLERS.build(cfg.train_dataloader.sampler, default_args=dict(dataset=dataset)).tile_names


@pytest.fixture(scope='module')
def config(tiny, tmp_path_factory):
    """A config of whose images all but the three that are labelled end after their headers."""
    folder = tmp_path_factory.mktemp('select')
    for file in (*tiny.data.glob('images/*.png'), *tiny.data.glob('masks/*.png')):
        copy = folder / 'data' / file.relative_to(tiny.data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    path = folder / 'select.py'
    path.write_text(CONFIG.format(upernet=tiny.upernet, data=folder / 'data'))
    for image in (folder / 'data/images').iterdir():
        if image.stem not in labelled(path, '3'):
            image.write_bytes(image.read_bytes()[:200])
    return path


@pytest.fixture(scope='module')
def selected(config, weights, call, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('run')
    call('train', config, '--work-dir', work_dir, '--backbone', weights, '--budget', 3, '--dev', '--select', 'cv')
    training = json.loads((work_dir / 'results.json').read_text())['protocol']['training']
    return SimpleNamespace(dir=work_dir, training=training,
                           log=''.join(path.read_text() for path in work_dir.glob('*/*.log')))


def test_it(selected):
    print(selected.log[-6000:], selected.training)
    assert 0
