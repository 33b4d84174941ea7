"""tools/predict.py: folders, interrupted runs, broken files, several processes."""
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from egmim_mm.inference import Segmenter

ROOT = Path(__file__).resolve().parents[2]


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
TORCHRUN = (sys.executable, 'tools/torchrun.py', '--standalone', '--nproc_per_node', 2)


def test_a_folder_becomes_a_folder_of_maps(tiny, weights, imagery, call, tmp_path, capsys):
    out = tmp_path / 'maps'
    call('predict', tiny.upernet, weights, imagery, '--out', out, '--confidence', '--probabilities')
    assert '4 maps made in' in capsys.readouterr().out
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
    assert capsys.readouterr().out.endswith(f'1 map made in {out}, 3 kept\n')
    assert hashes(out) == first
    assert {name for name in NAMES if (out / name).stat().st_mtime_ns != times[name]} == {'a.tif'}
    call(*command, '--resume', '--overlap', 0.3)  # other settings: none of them counts
    assert '4 maps made in' in capsys.readouterr().out
    call(*command, '--overwrite')
    assert hashes(out) == first


def test_a_truncated_file_is_reported_and_the_others_are_made(tiny, weights, imagery, call, tmp_path, capsys):
    whole = (imagery / 'a.tif').read_bytes()
    (imagery / 'a.tif').write_bytes(whole[:len(whole) // 2])
    (imagery / 'empty.tif').write_bytes(b'')
    out = tmp_path / 'maps'
    capsys.readouterr()
    line = refused(call, tiny.upernet, weights, imagery, '--out', out)
    assert line.startswith('Error: 2 maps could not be made: see "Failed" above')
    shown = capsys.readouterr()
    assert shown.out == f'3 maps made in {out}\n'
    failed = sorted(line for line in shown.err.splitlines() if line.startswith('Failed: '))
    assert len(failed) == 2  # each once
    assert 'a.tif: truncated or damaged' in failed[0] and 'empty.tif: not a raster' in failed[1]
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
        result = start(*TORCHRUN, *command, check=False)
        assert result.returncode == 1 and result.stdout == f'5 maps made in {tmp_path / out}\n'
        failed, *_, line = result.stderr.strip().splitlines()
        assert f'Failed: {imagery}/broken.tif: not a raster' in failed and result.stderr.count('Failed: ') == 1
        assert line.startswith('Error: 1 map could not be made') and result.stderr.count('Error: ') == 1
    one, two = hashes(tmp_path / 'one'), hashes(tmp_path / 'two')
    assert list(one) == list(two) == sorted(
        name for stem in NAMES + ['large.tif']
        for name in (stem, f'{stem[:-4]}_probabilities.tif', f'{stem[:-4]}.gpkg'))  # and no part
    assert [name for name in one if one[name] != two[name] and not name.endswith('.gpkg')] == []  # these hold the time


def test_one_raster_is_divided_over_two_processes(tiny, weights, call, start, tmp_path, write_image):
    """One of them fast in bfloat16, the other not: they agree on float32, and so on every byte."""
    source = write_image(tmp_path / 'large.tif', np.random.default_rng(2).integers(0, 256, (500, 90, 3), np.uint8))
    (tmp_path / 'predict.py').write_text(
        'import os, runpy\nfrom egmim_mm import precision\n'
        'precision._cpu_gain = lambda: 9.0 if os.environ["RANK"] == "0" else 1.0\n'
        f'runpy.run_path("{ROOT}/tools/predict.py", run_name="__main__")\n')
    options = ('--device', 'cpu', '--confidence')
    call('predict', tiny.upernet, weights, source, '--out', tmp_path / '1', *options,
         '--cfg-options', 'optim_wrapper.precision=float32')
    result = start(*TORCHRUN, tmp_path / 'predict.py', tiny.upernet, weights, source, '--out', tmp_path / '2', *options)
    assert result.stdout == f'1 map made in {tmp_path}/2\n'
    assert hashes(tmp_path / '1') == hashes(tmp_path / '2') and len(hashes(tmp_path / '2')) == 2
    content = Path(source).read_bytes()
    Path(source).write_bytes(content[:-9000])  # without its last rows: the second part fails
    result = start(*TORCHRUN, 'tools/predict.py', tiny.upernet, weights, source, '--out', tmp_path / '3', *options,
                   check=False)
    assert result.returncode == 1 and result.stdout == f'0 maps made in {tmp_path}/3\n'
    assert result.stderr.count('large.tif: truncated or damaged') == 1 and not hashes(tmp_path / '3')
    assert result.stderr.splitlines()[-1].startswith('Error: 1 map could not be made')


def test_polygons_are_made_of_maps_that_are_there(tiny, weights, imagery, call, tmp_path, capsys):
    out = tmp_path / 'maps'
    command = ('predict', tiny.upernet, weights, imagery, '--out', out)
    call(*command)
    times = {name: (out / name).stat().st_mtime_ns for name in NAMES}
    call(*command, '--resume', '--polygons')
    assert '4 maps made in' in capsys.readouterr().out
    assert {name: (out / name).stat().st_mtime_ns for name in NAMES} == times  # only the polygons were made
    assert {path.name for path in out.rglob('*.gpkg')} == {'a.gpkg', 'b.gpkg', 'c.gpkg', 'd.gpkg'}
    made = {path: path.stat().st_mtime_ns for path in out.rglob('*.gpkg')}
    call(*command, '--resume', '--polygons')
    assert '0 maps made in' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in made} == made
    with pytest.raises(SystemExit, match='are there: --resume keeps maps'):
        call(*command, '--polygons')
    (out / 'a.tif').unlink()  # its polygons are made again with it
    call(*command, '--resume', '--polygons')
    assert (out / 'a.tif').exists() and (out / 'a.gpkg').stat().st_mtime_ns != made[out / 'a.gpkg']


def test_a_no_data_value_of_the_command(tiny, weights, call, tmp_path, capsys, write_image):
    pixels = np.random.default_rng(0).integers(1, 256, (60, 66, 3), np.uint8)
    pixels[:20] = 0  # a black border that the file says nothing about
    source = write_image(tmp_path / 'a.tif', pixels)
    command = ('predict', tiny.upernet, weights, source, '--out')
    for out, options, without in (('none', (), 0), ('zero', ('--nodata', 0), 20)):
        call(*command, tmp_path / out, *options)
        with rasterio.open(tmp_path / out / 'a.tif') as file:
            classes = file.read(1)
        assert (classes[:without] == 255).all() and (classes[without:] < 3).all()
    capsys.readouterr()
    call(*command, tmp_path / 'zero', '--resume', '--nodata', 'none')  # other pixels have data: made again
    assert capsys.readouterr().out == f'1 map made in {tmp_path}/zero\n'
    assert hashes(tmp_path / 'zero') != hashes(tmp_path / 'none')  # of its settings
    with pytest.raises(SystemExit, match=r'a.tif is there: --resume keeps maps'):
        call(*command, tmp_path / 'zero')


@pytest.mark.parametrize('options, says', [
    (['--nodata', 'black'], "--nodata black: give a number, or 'none'"),
    (['--overlap', 2], 'overlap 2.0 must lie in'), (['--window', -3], 'window -3'), (['--batch', 0], '--batch 0'),
    (['--scaling', 'nowhere.json'], 'nowhere.json'), (['--device', 'abacus'], 'device abacus cannot be used'),
    (['--device', 'cuda:77'], 'device cuda:77 cannot be used')])
def test_mistakes_end_in_one_line_before_anything_is_written(tiny, weights, imagery, call, tmp_path, options, says):
    assert says in refused(call, tiny.upernet, weights, imagery, '--out', tmp_path / 'maps', *options)
    assert not (tmp_path / 'maps').exists()


def refused(call, *arguments) -> str:
    """The one line that the tool ends with."""
    with pytest.raises(SystemExit) as stopped:
        call('predict', *arguments)
    line = str(stopped.value.code)
    assert line.startswith('Error: ') and '\n' not in line
    return line


def test_inputs_that_are_not_there_or_collide(tiny, weights, imagery, call, tmp_path):
    command, out = (call, tiny.upernet, weights), ('--out', tmp_path / 'maps')
    assert 'nowhere.tif does not exist' in refused(*command, 'nowhere.tif', *out)
    (tmp_path / 'empty').mkdir()
    assert 'no rasters in' in refused(*command, tmp_path / 'empty', *out)
    (imagery / 'a.tiff').write_bytes((imagery / 'a.tif').read_bytes())
    assert 'would both become' in refused(*command, imagery, *out)
    assert 'a.tif would be overwritten by a map' in refused(*command, imagery / 'a.tif', '--out', imagery)
    (imagery / 'a.tiff').unlink()
    (tmp_path / 'others').mkdir()
    (tmp_path / 'others' / 'a.tif').write_bytes((imagery / 'a.tif').read_bytes())
    line = refused(*command, imagery, tmp_path / 'others', *out)
    assert f'{imagery}/a.tif and {tmp_path}/others/a.tif would both become {tmp_path}/maps/a.tif' in line
    (imagery / 'a.png').write_bytes((imagery / 'd.png').read_bytes())
    assert re.search('would both be written to .*a.gpkg', refused(*command, imagery, *out, '--polygons'))
    assert not (tmp_path / 'maps').exists()


def test_an_output_folder_that_is_none(tiny, weights, imagery, call, tmp_path):
    (tmp_path / 'file').write_text('mine')
    for out in (tmp_path / 'file', tmp_path / 'file' / 'maps'):
        assert f'the maps cannot be written into {out}' in refused(call, tiny.upernet, weights, imagery, '--out', out)
    assert (tmp_path / 'file').read_text() == 'mine'


def test_weights_and_configs_that_do_not_belong_together(tiny, weights, imagery, call, tmp_path):
    out = ('--out', tmp_path / 'maps')
    line = refused(call, tiny.upernet, weights, imagery, *out, '--cfg-options', 'model.decode_head.channels=16')
    assert f"{weights} does not hold the weights of this config's model" in line
    assert re.search(r'Tensors: \d+ resized, such as decode_head\.\S+: \(\S.*\) for \(', line)
    line = refused(call, tiny.upernet, weights, imagery, *out, '--cfg-options', 'model.auxiliary_head=None')
    assert re.search(r'\d+ unknown, such as auxiliary_head', line)
    (tmp_path / 'weights.pth').write_bytes(b'no checkpoint')
    assert 'weights.pth' in refused(call, tiny.upernet, tmp_path / 'weights.pth', imagery, *out)
    assert 'no segmentation config' in refused(call, tiny.egmim, weights, imagery, *out)
    assert 'nowhere.py' in refused(call, 'nowhere.py', weights, imagery, *out)
    assert not (tmp_path / 'maps').exists()


def test_rasters_that_do_not_fit_are_named_in_a_line_each(tiny, weights, call, tmp_path, capfd, write_image):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 46, 3), np.uint8)
    write_image(tmp_path / 'in/no_place.tif', pixels)  # no CRS: neither has the map
    bands = dict(driver='GTiff', height=40, width=46, count=5, dtype='uint8')
    with rasterio.open(tmp_path / 'in/bands.tif', 'w', **bands, crs='EPSG:32632') as file:
        file.write(np.ones((5, 40, 46), np.uint8))
    (tmp_path / 'in/text.tif').write_text('no raster')
    capfd.readouterr()
    assert '2 maps could not be made' in refused(call, tiny.upernet, weights, tmp_path / 'in', '--out',
                                                 tmp_path / 'maps')
    shown = capfd.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith('Failed: ')]
    assert len(lines) == 2 and shown.out == f'1 map made in {tmp_path}/maps\n' and 'Traceback' not in shown.err
    assert 'bands.tif: has 5 bands, the model takes 3; choose them, for example --bands 1 2 3' in shown.err
    assert 'text.tif: not a raster that GDAL can read' in shown.err
    with rasterio.open(tmp_path / 'maps/no_place.tif') as file:
        assert file.crs is None and file.shape == (40, 46)
    assert list(hashes(tmp_path / 'maps')) == ['no_place.tif']


@pytest.mark.parametrize('launcher', [(sys.executable, ), TORCHRUN], ids=['alone', 'two processes'])
def test_ctrl_c_ends_with_a_line_and_resume_goes_on(tiny, weights, call, tmp_path, capsys, write_image, launcher):
    rng = np.random.default_rng(0)
    for number in range(3):
        write_image(tmp_path / f'in/{number}.tif', rng.integers(0, 256, (64, 64, 3), np.uint8))
    write_image(tmp_path / 'in/large.tif', rng.integers(0, 256, (20_000, 300, 3), np.uint8))  # takes many seconds
    out = tmp_path / 'maps'
    call('predict', tiny.upernet, weights, *(tmp_path / f'in/{number}.tif' for number in range(2)), '--out', out)
    kept = hashes(out)
    command = [*launcher, 'tools/predict.py', tiny.upernet, weights, tmp_path / 'in', '--out', out, '--device',
               'cpu', '--resume']
    # a test run in the background ignores SIGINT, and its children would
    process = subprocess.Popen(
        [str(word) for word in command], cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        end = time.monotonic() + 120
        while not list(out.glob('.*.large*')) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: launcher and processes
        shown = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, shown
    line = shown[1].strip().splitlines()[-1]
    assert line == (f'Interrupted: 2 of 4 maps in {out} are complete; the same command with --resume makes the others')
    assert 'Traceback' not in shown[1] and shown[1].count('Interrupted') == 1 and not shown[0]
    assert hashes(out) == kept  # nothing half made, nothing hidden
    (tmp_path / 'in/large.tif').unlink()
    call('predict', tiny.upernet, weights, tmp_path / 'in', '--out', out, '--resume')
    assert capsys.readouterr().out.endswith(f'1 map made in {out}, 2 kept\n')
