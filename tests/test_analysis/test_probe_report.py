"""The probe as a command, on tiny tiles in the layout of the Dubai set."""
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from egmim_mm.analysis.probe_report import compare_backbones, plot_rows
from egmim_mm.datasets.plain_tiles import LabelledImages

ROOT = Path(__file__).parents[2]
CONFIG = """
default_scope = 'mmseg'
tiles = dict(
    type='egmim_mm.SegmentationTiles', data_root={root!r},
    data_prefix=dict(img_path='images', seg_map_path='masks'), img_suffix='.png',
    metainfo=dict(classes=('dark', 'bright'), palette=[[0, 0, 0], [255, 255, 255]]))
train_dataloader = dict(
    sampler=dict(type='egmim_mm.LabelBudgetSampler', budget=1),
    dataset=dict(include='train_*', **tiles, pipeline=[
        dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask'),
        dict(type='egmim_mm.RandomScaledCrop', crop_size=32), dict(type='PackSegInputs')]))
test_dataloader = dict(dataset=dict(include='test_*', **tiles, pipeline=[
    dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask'), dict(type='PackSegInputs')]))
model = dict(
    data_preprocessor=dict(mean=[128.0] * 3, std=[64.0] * 3, bgr_to_rgb=True),
    backbone=dict(type='egmim_mm.MaskedSwinTransformer', img_size=64, window_size=4, drop_path_rate=0.3,
                  arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
                  init_cfg=dict(type='Pretrained', checkpoint='missing.pth')))
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp('tiles')
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    for name in ('train_0', 'train_1', 'test_0'):
        label = rng.integers(0, 2, (5, 6)).repeat(16, 0).repeat(16, 1).astype(np.uint8)  # 80 x 96 px
        image = np.clip(60 + 120 * label[..., None] + rng.normal(0, 10, (*label.shape, 3)), 0, 255)
        Image.fromarray(image.astype(np.uint8)).save(root / 'images' / f'{name}.png')
        Image.fromarray(label).save(root / 'masks' / f'{name}.png')
    path = root / 'upernet_toy.py'
    path.write_text(CONFIG.format(root=str(root)))
    return path


def test_reads_whole_tiles_without_the_augmentation(config):
    tiles = LabelledImages(Config.fromfile(config).train_dataloader.dataset)
    assert len(tiles) == 2 and tiles.classes == ('dark', 'bright')
    for image, label in tiles:
        assert image.shape == (80, 96, 3) and image.dtype == np.uint8 and label.shape == (80, 96)
        assert image[label == 1].mean() > 170 and image[label == 0].mean() < 70


def test_pipeline_without_labels_is_named(config):
    cfg = Config.fromfile(config).test_dataloader.dataset
    cfg.pipeline = cfg.pipeline[:1]
    with pytest.raises(ValueError, match='one that loads labels'):
        LabelledImages(cfg)


def test_compare_writes_all_numbers(config, tmp_path):
    rows = compare_backbones(Config.fromfile(config), dict(a='scratch', b='scratch'), tmp_path, device='cpu')
    assert rows['a'] == rows['b']  # same seed: same weights, same cells
    scores = rows['a']['all']
    assert np.sum(scores['confusion']) == 80 * 96
    assert scores['mIoU'] > 70  # brightness survives random weights
    written = json.loads((tmp_path / 'probe.json').read_text())
    assert written['rows']['a']['all'] == scores
    assert (written['train_tiles'], written['test_tiles'], written['crop']) == (2, 1, 64)
    assert Image.open(tmp_path / 'probe.png').size[0] > 100


def test_plot_of_many_rows(tmp_path):
    reading = {name: dict(mIoU=value) for name, value in (('all', 40.0), ('stage 1', 30.0))}
    plot_rows({f'row {index}': reading for index in range(5)}, tmp_path / 'plot.png')
    width, height = Image.open(tmp_path / 'plot.png').size
    assert width > height > 300


def test_command(config, tmp_path):
    command = [sys.executable, str(ROOT / 'tools' / 'analyze.py'), 'probe', str(config), '--out', str(tmp_path),
               '--device', 'cpu', '--samples', '500', '--stages', 'each']
    done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'stage 4' in done.stdout and 'scratch' in done.stdout
    assert 'init_weights' not in done.stdout + done.stderr


def test_command_names_a_missing_checkpoint(config, tmp_path):
    main = runpy.run_path(str(ROOT / 'tools' / 'analyze.py'))['main']
    with pytest.raises(SystemExit, match='^Error: .*no/such.pth'):
        main(['probe', str(config), '--out', str(tmp_path), '--backbone', 'no/such.pth'])


@pytest.mark.parametrize('options', [[], ['--budget', '1', '--label-seeds', '0']])
def test_the_dev_part_in_place_of_the_test(config, tmp_path, capsys, options):
    main = runpy.run_path(str(ROOT / 'tools' / 'analyze.py'))['main']
    main(['probe', str(config), '--out', str(tmp_path), '--device', 'cpu', '--samples', '200', '--dev', *options,
          '--cfg-options', 'dev_tiles=train_1'])
    written = json.loads((tmp_path / 'probe.json').read_text())
    assert (written['part'], written['test_tiles']) == ('dev', 1)
    assert written.get('train_tiles', 1) == 1
    assert written.get('labelled_tiles', {'0': ['train_0']}) == {'0': ['train_0']}
    assert 'on the dev tiles' in ' '.join(capsys.readouterr().out.split())
