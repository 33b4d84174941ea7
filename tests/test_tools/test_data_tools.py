"""The command lines of data preparation."""
import json

import numpy as np
import pytest
import torch
from fake_downloads import write_isaid
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from egmim_mm.inference.frozen_backbone import build_backbone


def test_label_budget_on_a_config(tiny, call, tmp_path, capsys):
    call('label_budget', tiny.upernet, '--budgets', '25%', '4', '--seeds', '0', '--out', tmp_path / 'out')
    assert len((tmp_path / 'out/25pct_seed0.txt').read_text().split()) == 2
    larger = (tmp_path / 'out/4_seed0.txt').read_text().split()
    assert larger[:2] == (tmp_path / 'out/25pct_seed0.txt').read_text().split()
    assert 'not covered' in capsys.readouterr().out


@pytest.fixture(scope='module')
def textures(tmp_path_factory):
    """Folder of 21 tiles of 96 px, 12 of them flat, 6 with rows and 3 with checks; the same mean colour, shuffled."""
    folder, rng = tmp_path_factory.mktemp('textures'), np.random.default_rng(0)
    kinds = rng.permutation([0] * 12 + [1] * 6 + [2] * 3)
    rows, columns = np.indices((96, 96))
    for number, kind in enumerate(kinds):
        wave = (np.full_like(rows, 1), rows // 2 % 2 * 2, (rows // 2 + columns // 2) % 2 * 2)[kind]
        grey = 70 + 55 * wave[..., None] + rng.normal(0, 10, (96, 96, 3))
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / f'{number:02d}_{kind}.png')
    return folder


@pytest.fixture(scope='module')
def checkpoints(tiny, tmp_path_factory):
    """Random weights of the tiny backbone, and of one that is twice as wide."""
    folder = tmp_path_factory.mktemp('weights')
    for name, width in (('same', 8), ('wide', 16)):
        cfg = Config.fromfile(tiny.upernet)
        cfg.model.backbone.arch.embed_dims = width
        init_default_scope('mmseg')
        weights = build_backbone(cfg, 'scratch', seed=1).state_dict()
        state = {f'backbone.{key}': value for key, value in weights.items()}
        torch.save(dict(state_dict=state), folder / f'{name}.pth')
    return folder


@pytest.mark.parametrize('method', ['k_centre', 'typical_cluster'])
def test_suggest_by_the_features_of_a_checkpoint(tiny, textures, checkpoints, call, tmp_path, capsys, method):
    def suggested(out, *arguments):
        call('label_budget', 'suggest', textures, '--count', 3, '--method', method, '--config', tiny.upernet,
             '--backbone', checkpoints / 'same.pth', '--out', tmp_path / out, *arguments)
        return (tmp_path / out / 'suggested.txt').read_text().split()

    names = suggested('a')
    assert {name[-1] for name in names} == {'0', '1', '2'}  # one of each texture
    assert names == suggested('b') and (tmp_path / 'a/suggested.jpg').stat().st_size > 1000
    assert {name[-1] for name in suggested('c', '--seed', 3)} == {'0', '1', '2'}
    every = sorted(path.stem for path in textures.iterdir())
    drawn = [{name[-1] for name in np.random.default_rng(seed).choice(every, 3, replace=False)} for seed in range(20)]
    assert sum(len(kinds) == 3 for kinds in drawn) < 8  # at random they are rarely all there


def test_suggest_with_weights_or_tiles_that_do_not_fit(tiny, textures, checkpoints, call, tmp_path, write_image):
    def fails(folder, *arguments):
        with pytest.raises(SystemExit) as caught:
            call('label_budget', 'suggest', folder, '--count', 1, '--out', tmp_path / 'out', *arguments)
        assert str(caught.value).startswith('Error: ') and not (tmp_path / 'out').exists()
        return str(caught.value)

    assert 'wide.pth' in fails(textures, '--config', tiny.upernet, '--backbone', checkpoints / 'wide.pth')
    assert 'none.pth' in fails(textures, '--config', tiny.upernet, '--backbone', checkpoints / 'none.pth')
    assert '--backbone and --config belong together' in fails(textures, '--backbone', checkpoints / 'same.pth')
    write_image(tmp_path / 'small/x.png', np.zeros((40, 90, 3), np.uint8))
    assert 'x.png: 40 x 90 px (height x width) is smaller than a window of 64 px' in fails(
        tmp_path / 'small', '--config', tiny.upernet, '--backbone', checkpoints / 'same.pth')


def test_suggest_on_a_folder(tiny, call, tmp_path, capsys):
    call('label_budget', 'suggest', tiny.data / 'images', '--count', '3', '--out', tmp_path / 'out')
    assert len((tmp_path / 'out/suggested.txt').read_text().split()) == 3
    with pytest.raises(SystemExit, match='Error: 99 tiles cannot be chosen from 8'):
        call('label_budget', 'suggest', tiny.data / 'images', '--count', '99', '--out', tmp_path / 'out')


def test_converters(call, tiny, tmp_path, capsys):
    write_isaid(tmp_path / 'zips')
    call('dataset_converters/isaid', tmp_path / 'zips', '--out', tmp_path / 'isaid', '--partial', '--workers', '1')
    assert json.loads((tmp_path / 'isaid/dataset.json').read_text())['settings']['stride'] == 512
    assert 'published protocol' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='Error: .*holds 2 of the 1411 images'):
        call('dataset_converters/isaid', tmp_path / 'zips', '--out', tmp_path / 'other')
    with pytest.raises(SystemExit, match='Error: --compat mmseg means a crop of 896 and a stride of 512'):
        call('dataset_converters/isaid', tmp_path / 'zips', '--compat', 'mmseg', '--stride', '9')
    call('dataset_converters/folder', tiny.data, '--out', tmp_path / 'mine', '--classes', 'dark', 'middle', 'bright',
         '--crop', '64', '--stride', '32', '--workers', '1')
    assert json.loads((tmp_path / 'mine/dataset.json').read_text())['splits']['train']['tiles'] == 8 * 4


def test_benchmark_of_data(call, tmp_path):
    call('benchmark', 'data', '--size', '600', '--crop', '64', '--crops', '4', '--out', tmp_path)
    report = json.loads((tmp_path / 'data.json').read_text())
    assert [len(row['seconds_each']) for row in report['rows'].values()] == [4, 4]
    assert 0 < report['ratio']['low'] <= report['ratio']['median'] <= report['ratio']['high']
    assert report['peak_memory_bytes']['after'] >= report['peak_memory_bytes']['before'] > 0


def test_measure_bands(call, tmp_path, write_image, capsys):
    path = write_image(tmp_path / 'a.tif', np.arange(256, dtype=np.uint8).repeat(64).reshape(128, 128))
    call('measure_bands', path, '--out', tmp_path / 'bands.json', '--percentiles', '0', '100')
    band, = json.loads((tmp_path / 'bands.json').read_text())['bands']
    assert (band['low'], band['high']) == (0, 255) and band['mean'] == pytest.approx(127.5)
    assert 'mean of 0..255' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='Error: .*none.tif: not a raster'):
        call('measure_bands', tmp_path / 'none.tif', '--out', tmp_path / 'bands.json')
