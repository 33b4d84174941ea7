"""A tiny chain: random scenes of 96 px, a backbone of a few thousand parameters, a handful of iterations."""
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

ARCH = 'dict(_delete_=True, embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])'

DAPT = """
_base_ = ['{root}/configs/_base_/models/{method}_swin-nano.py', '{root}/configs/_base_/datasets/unlabeled.py',
          '{root}/configs/_base_/schedules/dapt.py', '{root}/configs/_base_/pretrain_runtime.py']
model = dict(backbone=dict(arch={arch}, img_size=64, window_size=2){terms})
train_pipeline = [
    dict(type='egmim_mm.LoadTile'),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=64, scale_range=(0.67, 1.5)),
    dict(type='RandomFlip', prob=0.5), dict(type='egmim_mm.RandomQuarterTurn'), dict(type='PackInputs')]
train_cfg = dict(global_batch=4, max_iters=12)
auto_scale_lr = dict(base_batch_size=4)
lr_factor_from_scratch = 1.0
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(checkpoint=dict(interval=4), logger=dict(interval=1))
train_dataloader = dict(
    num_workers=2,
    dataset=dict(data_root='{data}/images', min_size=64, pipeline=train_pipeline))
"""
NARROW = ", terms=[dict(type='egmim_mm.PixelTerm'), dict(type='egmim_mm.StructureTerm', channels=8)]"

UPERNET = """
_base_ = ['{root}/configs/_base_/models/upernet_swin-nano.py', '{root}/configs/_base_/datasets/segmentation.py',
          '{root}/configs/_base_/schedules/finetune.py', '{root}/configs/_base_/segmentation_runtime.py']
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(arch={arch}, img_size=64, window_size=2),
    decode_head=dict(channels=8, num_classes=3),
    auxiliary_head=dict(channels=8, num_classes=3),
    test_cfg=dict(crop_size=(64, 64), stride=(48, 48)))
tiles = dict(
    data_root='{data}', data_prefix=dict(img_path='images', seg_map_path='masks'), img_suffix='.png',
    metainfo=dict(classes=('dark', 'middle', 'bright'), palette=[[0, 0, 0], [128, 128, 128], [255, 255, 255]]))
train_pipeline = [
    dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask'),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=64), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]
train_cfg = dict(global_batch=4, max_iters=12, val_interval=100)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(checkpoint=dict(interval=4), logger=dict(interval=1))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, sampler=dict(budget=3),
    dataset=dict(**tiles, pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=tiles)
test_dataloader = val_dataloader
"""

SEMI = """
_base_ = ['{upernet}', '{root}/configs/_base_/second_stage.py']
model = dict(_base_.second_stage.model, threshold=0.4, adaptive=True, edge_trust=dict(), feature_dropout=0.5,
             strong=dict(classmix=0.3))
train_pipeline = [
    dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask'),
    dict(type='egmim_mm.RandomScaledCrop', crop_size=64), dict(type='RandomFlip', prob=0.5),
    dict(type='egmim_mm.PackTiles')]
train_dataloader = dict(sampler=_base_.second_stage.sampler, dataset=dict(pipeline=train_pipeline))
custom_hooks = [dict(type='egmim_mm.MeanTeacherHook', allow_test_tiles=True)]
label_presets = [dict(name='second stage', settings=dict())]
dev_tiles = ['[67]']
"""


def write_scenes(folder: Path, count: int = 8, size: int = 96) -> None:
    """Blobs of three brightness classes, with the classes as index masks and a few ignored pixels."""
    rng = np.random.default_rng(0)
    for name in ('images', 'masks'):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        coarse = rng.integers(0, 3, (size // 16, size // 16))
        mask = coarse.repeat(16, 0).repeat(16, 1).astype(np.uint8)
        image = (60 + 70 * mask[..., None] + rng.normal(0, 20, (size, size, 3))).clip(0, 255).astype(np.uint8)
        mask[:3] = 255
        Image.fromarray(image).save(folder / 'images' / f'{index}.png')
        Image.fromarray(mask).save(folder / 'masks' / f'{index}.png')


# a read-out preset, judged in windows
FEW = """
_base_ = '{upernet}'
label_presets = [dict(name='read-out', settings=dict(
    model=dict(
        pixel_features=dict(scale=0.5),
        decode_head=dict(
            _delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4], groups=[[0, 1, 2, 3], [4]]),
        auxiliary_head=None,
        test_cfg=dict(crop_size=({window}, {window}), stride=({stride}, {stride}))),
    train_cfg=dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=600, classifiers=[
        dict(type='discriminant', shrinkage=0.1), dict(type='logistic', l2=1e-2)])))]
"""


@pytest.fixture(scope='session')
def tiny(tmp_path_factory) -> SimpleNamespace:
    """Paths of a tiny data set and of its configs: ``data``, ``egmim``, ``simmim``, ``upernet``, ``semi``, and
    ``few`` and ``few_whole`` with a read-out preset."""
    folder = tmp_path_factory.mktemp('tiny')
    write_scenes(folder / 'data')
    values = dict(root=ROOT, arch=ARCH, data=folder / 'data')
    texts = dict(
        egmim=DAPT.format(method='egmim', terms=NARROW, **values),
        simmim=DAPT.format(method='simmim', terms='', **values),
        upernet=UPERNET.format(**values),
        semi=SEMI.format(upernet=folder / 'upernet.py', **values),
        few=FEW.format(upernet=folder / 'upernet.py', window=64, stride=48),
        few_whole=FEW.format(upernet=folder / 'upernet.py', window=96, stride=96))
    for name, text in texts.items():
        (folder / f'{name}.py').write_text(text)
    return SimpleNamespace(data=folder / 'data', **{name: folder / f'{name}.py' for name in texts})


@pytest.fixture(scope='session')
def weights(tiny, tmp_path_factory) -> Path:
    """Checkpoint of the tiny segmentation model with random weights."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from egmim_mm.registry import MODELS
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.save(dict(state_dict=MODELS.build(Config.fromfile(tiny.upernet).model).state_dict()), path)
    return path


@pytest.fixture(scope='session')
def call():
    """Function: run ``tools/NAME.py`` with arguments inside this process."""

    def run(name: str, *arguments) -> None:
        before, sys.argv = sys.argv, [name, *map(str, arguments)]
        try:
            runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')
        finally:
            sys.argv = before

    return run


@pytest.fixture
def start():
    """Function: run a command from the repository root in a process of its own; its output must be a success."""

    def run(*command, check: bool = True) -> subprocess.CompletedProcess:
        environment = dict(os.environ, PYTHONPATH=str(ROOT), PYTHON=sys.executable, OMP_NUM_THREADS='1')
        result = subprocess.run([str(c) for c in command], cwd=ROOT, env=environment, capture_output=True, text=True,
                                timeout=600)
        assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result

    return run


@pytest.fixture
def losses():
    """Function: the logged training loss of a work dir, one value per iteration."""

    def read(work_dir: Path) -> list:
        files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
        entries = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [entry['loss'] for entry in entries if 'loss' in entry]

    return read
