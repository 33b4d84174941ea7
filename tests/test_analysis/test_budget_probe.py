"""The frozen read-out at a label budget."""
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import nn

from egmim_mm.analysis.budget_probe import probe_choices

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ('dark', 'bright', 'red')


class Colours(nn.Module):
    """Two stages: 4-px and 8-px means of the image, so that features can be checked by hand."""

    calls = 0

    def forward(self, images):
        Colours.calls += len(images)
        return [nn.functional.avg_pool2d(images, size) for size in (4, 8)]


def tile(seed, classes=3, side=64):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (side // 8, side // 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    colours = np.array([[60, 60, 60], [180, 180, 180], [200, 60, 60]])
    return np.clip(colours[labels] + rng.normal(0, 25, (side, side, 3)), 0, 255).astype(np.uint8), labels


def as_tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def run(choices, tiles, **options):
    return probe_choices(Colours(), choices, tiles.__getitem__, [tile(9)], as_tensor, 32, CLASSES,
                         **(dict(samples=300) | options))


@pytest.fixture(scope='module')
def tiles():
    return {f't{seed}': tile(seed) for seed in range(3)}


def test_reads_the_classes_from_few_tiles(tiles):
    found = run({'0': ['t0', 't1'], '1': ['t2']}, tiles)
    assert set(found) == {'0', '1'}
    assert all(scores['mIoU'] > 80 and np.sum(scores['confusion']) == 64 * 64 for scores in found.values())


def test_a_choice_does_not_depend_on_the_others(tiles):
    alone, beside = run({'0': ['t0', 't1']}, tiles), run({'0': ['t0', 't1'], '1': ['t1', 't2'], '2': ['t0']}, tiles)
    assert beside['0'] == alone['0']


def test_features_of_a_tile_are_computed_once(tiles):
    Colours.calls = 0
    run({'0': ['t0', 't1'], '1': ['t1', 't0'], '2': ['t0']}, tiles)
    assert Colours.calls == (2 + 1) * 4  # two tiles and the test tile, four windows each


def test_it_is_scikit_learns_regression_on_all_cells_of_a_balanced_tile():
    """Both stages at each cell; all cells are drawn, so the sample is known."""
    labels = np.kron(np.arange(3)[None].repeat(1, 0), np.ones((32, 32), int)).astype(np.uint8)[:, :96]
    rng = np.random.default_rng(0)
    image = np.clip(np.array([[60] * 3, [180] * 3, [200, 60, 60]])[labels] + rng.normal(0, 60, (32, 96, 3)), 0,
                    255).astype(np.uint8)
    tests = [tile(9)]
    found = probe_choices(Colours(), {'0': ['t']}, lambda name: (image, labels), tests, as_tensor, 32, CLASSES,
                          samples=3 * 64, l2=1e-3)['0']

    def cells(picture):  # features of the 4-px cells, stage 2 upsampled window by window
        rows = []
        for left in range(0, picture.shape[1], 32):
            for top in range(0, picture.shape[0], 32):
                window = as_tensor(picture[top:top + 32, left:left + 32])[None]
                coarse = nn.functional.interpolate(nn.functional.avg_pool2d(window, 8), scale_factor=2.0,
                                                   mode='bilinear', align_corners=False)
                rows.append(torch.cat([nn.functional.avg_pool2d(window, 4), coarse], 1)[0].flatten(1).T)
        return torch.cat(rows).numpy()

    features = cells(image)
    mean, std = features.mean(0), features.std(0)
    model = LogisticRegression(C=1 / (1e-3 * len(features)), max_iter=2000, tol=1e-8)
    model.fit((features - mean) / std, np.repeat([0, 1, 2], 64))
    guess = model.predict((cells(tests[0][0]) - mean) / std)
    truth = torch.cat([torch.from_numpy(tests[0][1][top:top + 32:4, left:left + 32:4].astype(int)).flatten()
                       for left in (0, 32) for top in (0, 32)]).numpy()
    accuracy = np.trace(np.array(found['confusion'])) / np.sum(found['confusion'])
    assert accuracy == pytest.approx((guess == truth).mean(), abs=0.03)  # pixels here, cells there


def test_tiles_without_a_label_are_named(tiles):
    empty = dict(tiles, t7=(tiles['t0'][0], np.full((64, 64), 255, np.uint8)))
    with pytest.raises(ValueError, match='the labelled tiles of 4 have no labelled pixel: t7'):
        run({'0': ['t0'], '4': ['t7']}, empty)
    assert run({'0': ['t0', 't7']}, empty)['0']['mIoU'] > 80  # beside another tile it does no harm


def test_a_class_in_no_labelled_tile_scores_0():
    image, labels = tile(0, classes=2)
    scores = run({'0': ['t']}, dict(t=(image, labels)))['0']
    assert scores['IoU/red'] == 0 and scores['IoU/dark'] > 30


CONFIG = """
default_scope = 'mmseg'
tiles = dict(
    type='egmim_mm.SegmentationTiles', data_root={root!r}, img_suffix='.png',
    metainfo=dict(classes=('dark', 'bright', 'red'), palette=[[0, 0, 0], [255, 255, 255], [255, 0, 0]]),
    pipeline=[dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')])
train_dataloader = dict(sampler=dict(type='egmim_mm.LabelBudgetSampler', budget=1),
                        dataset=dict(include='train_*', **tiles))
test_dataloader = dict(dataset=dict(include='test_*', **tiles))
model = dict(
    data_preprocessor=dict(mean=[128.0] * 3, std=[64.0] * 3, bgr_to_rgb=True),
    backbone=dict(type='egmim_mm.MaskedSwinTransformer', img_size=64, window_size=4,
                  arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])))
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp('probe_tiles')
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    for seed, name in enumerate(('train_0', 'train_1', 'train_2', 'test_0')):
        for folder, pixels in zip(('images', 'masks'), tile(seed)):
            Image.fromarray(pixels).save(root / folder / f'{name}.png')
    path = root / 'toy.py'
    path.write_text(CONFIG.format(root=str(root)))
    return path


def tool(*arguments):
    runpy.run_path(str(ROOT / 'tools/analyze.py'))['main'](['probe', *map(str, arguments)])


def test_command_reads_several_backbones_and_label_seeds(config, tmp_path, capsys):
    tool(config, '--budget', 1, '--label-seeds', 0, 3, 4, '--backbone', 'a=scratch', '--backbone', 'b=scratch', '--out',
         tmp_path, '--device', 'cpu', '--samples', 200)
    found = json.loads((tmp_path / 'probe.json').read_text())
    assert list(found['rows']) == ['a', 'b'] and found['rows']['a'] == found['rows']['b']
    assert list(found['rows']['a']) == ['0', '3', '4'] and found['budget'] == '1'
    assert all(len(names) == 1 for names in found['labelled_tiles'].values())
    values = [scores['mIoU'] for scores in found['rows']['a'].values()]
    said = capsys.readouterr().out
    assert f'{np.mean(values):.1f}' in said and f'{np.std(values, ddof=1):.1f}' in said and f'{values[1]:.1f}' in said
    assert Image.open(tmp_path / 'probe.png').size[0] > 300


@pytest.mark.parametrize(('options', 'says'), [
    (['--budget', 0], 'label budget 0 labels nothing'),
    (['--budget', 4], 'label budget 4 is larger than the data, which has 3 tiles'),
    (['--budget', 1, '--label-seeds', 2, 2], '--label-seeds 2 2: each one once'),
    (['--label-seeds', 2], '--label-seeds says which tiles a --budget labels'),
    (['--budget', 1, '--stages', 'each'], '--stages each goes without --budget'),
])
def test_options_that_cannot_be_meant(config, tmp_path, options, says):
    with pytest.raises(SystemExit, match=f'^Error: {says}'):
        tool(config, '--out', tmp_path, '--device', 'cpu', *options)
