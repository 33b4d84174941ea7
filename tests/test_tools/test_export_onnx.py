"""tools/export_onnx.py, and tools/predict.py with the file it writes."""
import numpy as np
import pytest
import rasterio
import torch

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.fixture(scope='module')
def config(tiny, tmp_path_factory):
    """Config of the tiny segmentation model with one block in each stage: fewer take less time to export."""
    path = tmp_path_factory.mktemp('config') / 'upernet.py'
    path.write_text(f"_base_ = '{tiny.upernet}'\nmodel = dict(backbone=dict(arch=dict(depths=[1, 1, 1, 1])))\n")
    return path


@pytest.fixture(scope='module')
def weights(config, tmp_path_factory):
    """Checkpoint of that model with random weights."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from egmim_mm.registry import MODELS
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(Config.fromfile(config).model)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='module')
def exported(config, weights, call, tmp_path_factory):
    """The ONNX file of that model for its windows of 64 px."""
    path = tmp_path_factory.mktemp('exported') / 'model.onnx'
    call('export_onnx', config, weights, '--out', path)
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_maps_of_the_file_are_those_of_the_checkpoint(config, weights, exported, call, write_image, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, size in (('a.tif', 80), ('deep/b.png', 100)):
        write_image(tmp_path / 'imagery' / name, rng.integers(0, 256, (size, size + 6, 3), np.uint8))
    a, out = tmp_path / 'imagery' / 'a.tif', tmp_path / 'maps'
    float32 = ('--cfg-options', 'optim_wrapper.precision=float32')  # that of the file
    call('predict', config, weights, tmp_path / 'imagery', '--out', tmp_path / 'expected', *float32)
    call('predict', exported, tmp_path / 'imagery', '--out', out, '--confidence')
    assert '2 maps made in' in capsys.readouterr().out
    for name in ('a.tif', 'deep/b.png'):
        expected = read(tmp_path / 'expected' / name)
        assert len(np.unique(expected)) > 1
        assert (read(out / name) == expected).mean() >= 0.999
    assert (out / 'a_confidence.tif').exists()

    (out / 'a.tif').unlink()
    call('predict', exported, a, tmp_path / 'imagery', '--out', out, '--resume')  # several inputs, one of them twice
    assert capsys.readouterr().out.endswith(f'1 map made in {out}, 1 kept\n')
    call('predict', exported, '--out', tmp_path / 'one', a, '--window', 64)
    assert np.array_equal(read(tmp_path / 'one' / 'a.tif'), read(out / 'a.tif'))
    call('predict', config, '--out', tmp_path / 'two', weights, a, *float32)  # options may stand between
    assert np.array_equal(read(tmp_path / 'two' / 'a.tif'), read(tmp_path / 'expected' / 'a.tif'))


@pytest.mark.parametrize('options, says', [
    (['--window', 32], 'windows of 64 px alone, not 32'), (['--overlap', 2], 'overlap 2.0'),
    (['--device', 'cuda:99'], 'onnxruntime')])
def test_options_that_do_not_fit_the_file(exported, call, write_image, tmp_path, options, says):
    write_image(tmp_path / 'a.tif', np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(SystemExit, match=says):
        call('predict', exported, tmp_path / 'a.tif', '--out', tmp_path / 'maps', *options)
    assert not (tmp_path / 'maps').exists()


def test_commands_that_cannot_be_meant(config, weights, exported, call, tmp_path, capsys):
    for command, says in (
            ((exported, 'a.tif', '--trust-checkpoint'), '--trust-checkpoint is about a config'),
            ((exported, 'a.tif', '--cfg-options', 'a=1'), '--cfg-options is about a config'),
            ((exported, ), 'required'), ((config, weights), 'required')):
        with pytest.raises(SystemExit):
            call('predict', *command, '--out', tmp_path / 'maps')
        assert says in capsys.readouterr().err
    (tmp_path / 'model.onnx').write_bytes(b'no model')
    with pytest.raises(SystemExit, match='model.onnx is no ONNX model'):
        call('predict', tmp_path / 'model.onnx', 'a.tif', '--out', tmp_path / 'maps')
    with pytest.raises(SystemExit, match='model.onnx exists: --overwrite'):
        call('export_onnx', config, weights, '--out', tmp_path / 'model.onnx')
    with pytest.raises(SystemExit, match='size 65 must be a multiple of 32'):
        call('export_onnx', config, weights, '--out', tmp_path / 'new.onnx', '--size', 65)
    assert (tmp_path / 'model.onnx').read_bytes() == b'no model' and not (tmp_path / 'new.onnx').exists()
