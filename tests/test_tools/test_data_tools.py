"""The command lines of data preparation."""
import json

import numpy as np
import pytest
from fake_downloads import write_isaid


def test_label_budget_on_a_config(tiny, call, tmp_path, capsys):
    call('label_budget', tiny.upernet, '--budgets', '25%', '4', '--seeds', '0', '--out', tmp_path / 'out')
    assert len((tmp_path / 'out/25pct_seed0.txt').read_text().split()) == 2
    larger = (tmp_path / 'out/4_seed0.txt').read_text().split()
    assert larger[:2] == (tmp_path / 'out/25pct_seed0.txt').read_text().split()
    assert 'not covered' in capsys.readouterr().out


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
