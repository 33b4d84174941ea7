"""tools/predict.py: folders, interrupted runs, broken files, several processes."""
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from egmim_mm.inference import Segmenter


@pytest.fixture
def imagery(tmp_path, write_image):
    """Three rasters, one of them in a subfolder, and a picture."""
    rng = np.random.default_rng(0)
    for name, size in (('a.tif', 60), ('deep/b.tif', 100), ('c.tif', 40), ('d.png', 30)):
        write_image(tmp_path / 'imagery' / name, rng.integers(0, 256, (size, size + 6, 3), np.uint8))
    return tmp_path / 'imagery'


def hashes(folder):
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob('*')) if path.is_file()}


NAMES = ['a.tif', 'c.tif', 'd.png', 'deep/b.tif']


def test_a_folder_becomes_a_folder_of_maps(tiny, weights, imagery, call, tmp_path, capsys):
    out = tmp_path / 'maps'
    call('predict', tiny.upernet, weights, imagery, '--out', out, '--confidence', '--probabilities')
    assert '4 maps in' in capsys.readouterr().out
    assert list(hashes(out)) == sorted(
        NAMES + [f'{name[:-4]}_{kind}.tif' for name in NAMES for kind in ('confidence', 'probabilities')])
    segmenter = Segmenter(tiny.upernet, weights)
    for name in NAMES:
        with rasterio.open(out / name) as file:
            expected = segmenter(np.array(Image.open(imagery / name)), window=64)
            np.testing.assert_array_equal(file.read(1), expected)


def test_resume_makes_only_what_is_missing_or_was_made_otherwise(tiny, weights, imagery, call, tmp_path, capsys):
    out = tmp_path / 'maps'
    command = ('predict', tiny.upernet, weights, imagery, '--out', out)
    call(*command)
    first, times = hashes(out), {name: (out / name).stat().st_mtime_ns for name in NAMES}
    with pytest.raises(SystemExit, match='are there: --resume keeps maps'):
        call(*command)
    (out / 'a.tif').unlink()
    call(*command, '--resume')
    assert '1 maps in' in (shown := capsys.readouterr().out) and '3 were there' in shown
    assert hashes(out) == first
    assert {name for name in NAMES if (out / name).stat().st_mtime_ns != times[name]} == {'a.tif'}
    call(*command, '--resume', '--overlap', 0.3)  # other settings: none of them counts
    assert '4 maps in' in capsys.readouterr().out
    call(*command, '--overwrite')
    assert hashes(out) == first


def test_a_truncated_file_is_reported_and_the_others_are_made(tiny, weights, imagery, call, tmp_path, capsys):
    whole = (imagery / 'a.tif').read_bytes()
    (imagery / 'a.tif').write_bytes(whole[:len(whole) // 2])
    (imagery / 'empty.tif').write_bytes(b'')
    out = tmp_path / 'maps'
    with pytest.raises(SystemExit) as stopped:
        call('predict', tiny.upernet, weights, imagery, '--out', out)
    assert stopped.value.code == 1
    shown = capsys.readouterr().out
    assert '3 maps in' in shown and '2 failed' in shown
    assert 'a.tif: truncated or damaged' in shown and 'empty.tif: not a raster' in shown
    assert list(hashes(out)) == ['c.tif', 'd.png', 'deep/b.tif']


def test_two_processes_make_the_same_files_and_one_failure_stops_none(tiny, weights, imagery, call, start, tmp_path,
                                                                      write_image):
    rng = np.random.default_rng(1)
    write_image(imagery / 'large.tif', rng.integers(0, 256, (700, 150, 3), np.uint8))  # more than a fair share
    (imagery / 'broken.tif').write_bytes(b'II*\0')
    for out in ('one', 'two'):
        command = ['tools/predict.py', tiny.upernet, weights, imagery, '--out', tmp_path / out, '--device', 'cpu',
                   '--probabilities', '--polygons']
        if out == 'one':
            with pytest.raises(SystemExit):
                call('predict', *command[1:])
            continue
        result = start(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2, *command,
                       check=False)
        assert result.returncode != 0
        assert '5 maps in' in result.stdout and '1 failed' in result.stdout
        assert 'broken.tif: not a raster' in result.stdout
    one, two = hashes(tmp_path / 'one'), hashes(tmp_path / 'two')
    assert list(one) == list(two) == sorted(
        name for stem in NAMES + ['large.tif']
        for name in (stem, f'{stem[:-4]}_probabilities.tif', f'{stem[:-4]}.gpkg'))  # and no part
    assert [name for name in one if one[name] != two[name] and not name.endswith('.gpkg')] == []  # these hold the time


def test_one_raster_is_divided_over_two_processes(tiny, weights, start, tmp_path, write_image):
    source = write_image(tmp_path / 'large.tif', np.random.default_rng(2).integers(0, 256, (500, 90, 3), np.uint8))
    for processes in (1, 2):
        result = start(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', processes,
                       'tools/predict.py', tiny.upernet, weights, source, '--out', tmp_path / str(processes),
                       '--device', 'cpu', '--confidence')
        assert '1 maps in' in result.stdout
    assert hashes(tmp_path / '1') == hashes(tmp_path / '2') and len(hashes(tmp_path / '2')) == 2
    content = Path(source).read_bytes()
    Path(source).write_bytes(content[:-9000])  # without its last rows: the second part fails
    result = start(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2,
                   'tools/predict.py', tiny.upernet, weights, source, '--out', tmp_path / '3', '--device', 'cpu',
                   check=False)
    assert '0 maps in' in result.stdout and '1 failed' in result.stdout
    assert 'large.tif: truncated or damaged' in result.stdout and not hashes(tmp_path / '3')


def test_polygons_are_made_of_maps_that_are_there(tiny, weights, imagery, call, tmp_path, capsys):
    out = tmp_path / 'maps'
    command = ('predict', tiny.upernet, weights, imagery, '--out', out)
    call(*command)
    times = {name: (out / name).stat().st_mtime_ns for name in NAMES}
    call(*command, '--resume', '--polygons')
    assert '4 maps in' in capsys.readouterr().out
    assert {name: (out / name).stat().st_mtime_ns for name in NAMES} == times  # only the polygons were made
    assert {path.name for path in out.rglob('*.gpkg')} == {'a.gpkg', 'b.gpkg', 'c.gpkg', 'd.gpkg'}
    made = {path: path.stat().st_mtime_ns for path in out.rglob('*.gpkg')}
    call(*command, '--resume', '--polygons')
    assert '0 maps in' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in made} == made
    with pytest.raises(SystemExit, match='are there: --resume keeps maps'):
        call(*command, '--polygons')
    (out / 'a.tif').unlink()  # its polygons are made again with it
    call(*command, '--resume', '--polygons')
    assert (out / 'a.tif').exists() and (out / 'a.gpkg').stat().st_mtime_ns != made[out / 'a.gpkg']


@pytest.mark.parametrize('options, says', [
    (['--overlap', 2], 'overlap 2.0 must lie in'), (['--window', -3], 'window -3'), (['--batch', 0], '--batch 0'),
    (['--scaling', 'nowhere.json'], 'nowhere.json')])
def test_mistakes_end_in_one_line_before_anything_is_written(tiny, weights, imagery, call, tmp_path, options, says):
    with pytest.raises(SystemExit, match=says):
        call('predict', tiny.upernet, weights, imagery, '--out', tmp_path / 'maps', *options)
    assert not (tmp_path / 'maps').exists()


def test_inputs_that_are_not_there_or_collide(tiny, weights, imagery, call, tmp_path):
    command = ('predict', tiny.upernet, weights)
    with pytest.raises(SystemExit, match='nowhere.tif does not exist'):
        call(*command, 'nowhere.tif', '--out', tmp_path / 'maps')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit, match='no rasters in'):
        call(*command, tmp_path / 'empty', '--out', tmp_path / 'maps')
    (imagery / 'a.tiff').write_bytes((imagery / 'a.tif').read_bytes())
    with pytest.raises(SystemExit, match='would both become'):
        call(*command, imagery, '--out', tmp_path / 'maps')
    with pytest.raises(SystemExit, match='a.tif would be overwritten by a map'):
        call(*command, imagery / 'a.tif', '--out', imagery)
    (imagery / 'a.tiff').unlink()
    (imagery / 'a.png').write_bytes((imagery / 'd.png').read_bytes())
    with pytest.raises(SystemExit, match='would both be written to .*a.gpkg'):
        call(*command, imagery, '--out', tmp_path / 'maps', '--polygons')
