"""Prediction against MMSegmentation's slide inference, memory and seams as commands, at toy size."""
import json

import numpy as np
import pytest
from PIL import Image

from egmim_mm.benchmark.timing import peak_memory
from egmim_mm.inference import Segmenter


@pytest.fixture(scope='module')
def report(tiny, weights, call, tmp_path_factory):
    """What was written."""
    folder = tmp_path_factory.mktemp('benchmark')
    call('benchmark', 'predict', tiny.upernet, weights, '--test-data', '--tiles', 3, '--window', 48, '--batch', 2,
         '--rounds', 2, '--device', 'cpu', '--out', folder)
    return json.loads((folder / 'predict.json').read_text())


def test_rows_say_what_was_run(report):
    stock, ours = report['baseline'], 'egmim_mm'
    assert list(report['rows']) == [stock, ours, "egmim_mm, mmseg's overlap", "egmim_mm, mmseg's overlap, batch 1"]
    assert (report['window'], report['stride'], report['sizes']) == (48, 32, [[96, 96]] * 3)
    assert report['clock'] == 'CPU time of the process' and report['versions']['torch']
    # 96 px in windows of 48: mmseg 0, 32, 48; ours with an overlap of 12 px 0, 24, 48
    assert [row['windows'] for row in report['rows'].values()] == [27] * 4
    for row in report['rows'].values():
        assert row['pixels_per_s'] == pytest.approx(3 * 96 * 96 / row['seconds'])
        assert row['speedup']['low'] <= row['speedup']['median'] <= row['speedup']['high']
        assert 0 <= row['mIoU'] <= 100 and 0.5 < row['agreement'] <= 1
    first = report['rows'][stock]
    assert first['agreement'] == 1 and first['speedup']['median'] == 1
    pairs = zip(first['seconds_each'], report['rows'][ours]['seconds_each'])
    assert report['rows'][ours]['speedup']['median'] == pytest.approx(np.median([a / b for a, b in pairs]))


def test_accuracy_is_that_of_the_maps(report, tiny, weights):
    from sklearn.metrics import jaccard_score
    segmenter = Segmenter(tiny.upernet, weights, 'cpu')
    truth, found = [], []
    for index in range(3):
        mask = np.array(Image.open(tiny.data / f'masks/{index}.png'))
        image = np.array(Image.open(tiny.data / f'images/{index}.png'))
        truth.append(mask[mask < 255])
        found.append(segmenter(image, 48, 0.25, 2)[mask < 255])
    expected = jaccard_score(np.concatenate(truth), np.concatenate(found), average='macro', labels=[0, 1, 2])
    assert report['rows']['egmim_mm']['mIoU'] == pytest.approx(100 * expected)


def test_one_window_is_the_same_map_either_way(tiny, weights, call, tmp_path, capsys):
    call('benchmark', 'predict', tiny.upernet, weights, '--test-data', '--tiles', 1, '--window', 96, '--rounds', 2,
         '--device', 'cpu', '--out', tmp_path)
    rows = json.loads((tmp_path / 'predict.json').read_text())['rows']
    assert {row['windows'] for row in rows.values()} == {1}
    assert min(row['agreement'] for row in rows.values()) > 0.999
    assert 'times as fast' in capsys.readouterr().out


@pytest.mark.parametrize('options, says', [
    ([], 'the synthetic scenes impervious'), (['--test-data', '--rounds', 1], '1 rounds'),
    (['--test-data', '--overlap', 1], 'overlap 1.0'), (['--test-data', '--tiles', 0], '0 tiles')])
def test_mistakes_end_in_one_line(tiny, weights, call, tmp_path, options, says):
    with pytest.raises(SystemExit, match=says):
        call('benchmark', 'predict', tiny.upernet, weights, '--device', 'cpu', '--out', tmp_path / 'out', *options)
    assert not (tmp_path / 'out').exists()


def test_memory_is_that_of_a_fresh_process(call, tmp_path, capsys):
    hoard = np.ones(2**28, np.uint8)  # what this process holds does not count
    call('benchmark', 'predict-memory', '--sizes', 512, '--window', 128, '--out', tmp_path)
    row, = json.loads((tmp_path / 'predict_memory.json').read_text())['rows']
    assert row['before_bytes'] <= row['peak_memory_bytes'] < peak_memory() - hoard.nbytes // 2
    assert row['ratio'] == 1
    assert '512 x 512 px' in capsys.readouterr().out


def test_seams_are_counted_and_drawn(tiny, weights, call, tmp_path, write_image, capsys):
    raster = write_image(tmp_path / 'a.tif', np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8))
    call('analyze', 'seams', tiny.upernet, weights, raster, '--window', 64, '--device', 'cpu', '--out', tmp_path)
    found = json.loads((tmp_path / 'seams.json').read_text())
    assert list(found['rows']) == ['hard cut', 'mmseg slide inference', 'egmim_mm']
    assert found['borders']['egmim_mm'] == [[48, 64, 96, 112], [45, 64, 90, 109, 136, 154]]
    for row in found['rows'].values():
        assert row['ratio'] == pytest.approx(row['border'] / row['elsewhere']) and row['low'] < row['high']
    with Image.open(tmp_path / 'seams.png') as picture:
        assert picture.size == (1240, 340)
    assert 'hard cut' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='are one window of 256 px'):
        call('analyze', 'seams', tiny.upernet, weights, raster, '--window', 256, '--device', 'cpu', '--out', tmp_path)
