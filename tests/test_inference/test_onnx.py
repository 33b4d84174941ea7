"""ONNX files against PyTorch: the same logits, probabilities and maps, at sizes that the exporter has not seen."""
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from egmim_mm import precision
from egmim_mm.environment import EnvironmentProblem
from egmim_mm.inference import OnnxSegmenter, Segmenter, predict_raster
from egmim_mm.inference.onnx.export import TOLERANCE, export_onnx
from egmim_mm.storage.tile_reading import TileReadError

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

CLASSES = ('a', 'b', 'c')
COLORS = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def swin(kind: str, folder: Path) -> Segmenter:
    """UperNet over two stages of a masked Swin with random weights, in windows of 7 (V1) or 4 tokens (V2)."""
    cfg = Config(dict(
        default_scope='mmseg',
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', mean=[110, 120, 130], std=[50, 60, 70],
                                   bgr_to_rgb=True),
            backbone=dict(type=f'egmim_mm.{kind}', window_size=4 if kind.endswith('V2') else 7, out_indices=(0, 1),
                          arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2])),
            decode_head=dict(type='egmim_mm.UPerHead', in_channels=[8, 16], in_index=[0, 1], pool_scales=(1, 3),
                             channels=8, num_classes=3, align_corners=False, norm_cfg=dict(type='SyncBN')),
            auxiliary_head=dict(type='FCNHead', in_channels=16, in_index=1, channels=8, num_classes=3),
            train_cfg=dict(), test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(48, 48))),
        test_dataloader=dict(dataset=dict(type='egmim_mm.SegmentationTiles',
                                          metainfo=dict(classes=CLASSES, palette=COLORS)))))
    from egmim_mm.registry import MODELS
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return Segmenter(cfg, folder / 'weights.pth', 'cpu')


def readout(folder: Path) -> Segmenter:
    """Read-out with random classifiers of two stages and of hand-made features."""
    cfg = Config.fromfile('configs/dubai_cpu/readout.py')
    cfg.model.backbone.update(arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2]), out_indices=(0, 1))
    cfg.model.decode_head.update(in_index=[0, 1, 2], groups=[[0, 1], [2]])
    from egmim_mm.registry import MODELS
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    for parameter in model.backbone.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    weights = [(torch.randn(5, sum(widths)), torch.zeros(5)) for widths in model.decode_head.widths]
    model.decode_head.set_classifiers(weights, range(5))
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return Segmenter(cfg, folder / 'weights.pth', 'cpu', cfg_options={'optim_wrapper.precision': 'float32'})


def test_a_read_out_with_its_hand_made_features(tmp_path):
    segmenter = readout(tmp_path)
    comparisons = export_onnx(segmenter, tmp_path / 'model.onnx', 64, dynamic=True)
    assert len(comparisons) == 6 and max(one.difference for one in comparisons) < TOLERANCE
    model, batch = OnnxSegmenter(tmp_path / 'model.onnx'), images(2, 96, 160)
    ours, theirs = segmenter.logits(batch), model.logits(batch)
    assert (ours - theirs).abs().max() < TOLERANCE and len(ours.argmax(1).unique()) > 2
    assert (ours.argmax(1) == theirs.argmax(1)).float().mean() > 0.9999


@pytest.fixture(scope='module', params=['MaskedSwinTransformer', 'MaskedSwinTransformerV2'])
def changing(request, tmp_path_factory) -> SimpleNamespace:
    """A model and its ONNX file for changing sizes: ``torch``, ``path``, ``comparisons``."""
    folder = tmp_path_factory.mktemp('changing')
    segmenter = swin(request.param, folder)
    comparisons = export_onnx(segmenter, folder / 'model.onnx', dynamic=True)
    return SimpleNamespace(torch=segmenter, path=folder / 'model.onnx', comparisons=comparisons)


@pytest.fixture(scope='module')
def fixed(tmp_path_factory) -> SimpleNamespace:
    """The same for images of 64 px."""
    folder = tmp_path_factory.mktemp('fixed')
    segmenter = swin('MaskedSwinTransformer', folder)
    export_onnx(segmenter, folder / 'model.onnx', 64)
    return SimpleNamespace(torch=segmenter, path=folder / 'model.onnx')


def images(count: int, height: int, width: int, bands: int = 3) -> list[np.ndarray]:
    return list(np.random.default_rng(height + width).integers(0, 256, (count, height, width, bands), np.uint8))


def assert_same_classes(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape and len(np.unique(theirs)) > 1
    assert (ours == theirs).mean() >= 0.999


def test_changing_sizes_agree_with_pytorch(changing):
    model = OnnxSegmenter(changing.path)
    assert len({(one.batch, one.height, one.width) for one in changing.comparisons}) == 3
    assert all(one.difference <= TOLERANCE for one in changing.comparisons)
    # maps of the last stage smaller than a window, whole windows, and neither
    for shape in ((1, 32, 32), (3, 64, 96), (1, 448, 32), (2, 224, 160)):
        batch = images(*shape)
        expected = changing.torch.logits(batch)
        assert expected.std() > 0.1
        torch.testing.assert_close(model.logits(batch), expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(model.probabilities(batch), changing.torch.probabilities(batch), atol=1e-3, rtol=0)


def test_the_file_names_its_sizes_and_takes_bytes(changing):
    graph = onnx.load(changing.path).graph
    image, logits = graph.input[0], graph.output[0]
    assert (image.name, image.type.tensor_type.elem_type) == ('image', onnx.TensorProto.UINT8)
    sizes = [[axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
             for value in (image, logits)]
    assert sizes == [['batch', bands, '32*rows', '32*columns'] for bands in (3, 3)]
    assert not any('auxiliary' in tensor.name for tensor in graph.initializer)
    assert [path.name for path in changing.path.parent.glob('*.onnx*')] == ['model.onnx']  # weights are inside


def test_metadata_and_mirror_images(changing):
    plain, mirrored = OnnxSegmenter(changing.path), OnnxSegmenter(str(changing.path), 'cpu', tta=True)
    for name in ('classes', 'bands', 'window', 'weights_sha256'):
        assert getattr(plain, name) == getattr(changing.torch, name)
    assert np.array_equal(plain.palette, COLORS) and plain.palette.dtype == np.uint8
    batch = images(2, 64, 32)
    changing.torch.tta = True
    expected = changing.torch.probabilities(batch)
    changing.torch.tta = False
    assert (expected - plain.probabilities(batch)).abs().max() > 0.01
    torch.testing.assert_close(mirrored.probabilities(batch), expected, atol=1e-3, rtol=0)


def test_maps_are_those_of_pytorch(changing, write_raster, noise, tmp_path):
    source = write_raster(tmp_path / 'a.tif', noise(110, 150))
    maps = []
    for name, segmenter in (('onnx', OnnxSegmenter(changing.path)), ('torch', changing.torch)):
        predict_raster(segmenter, source, tmp_path / f'{name}.tif', window=64)
        with rasterio.open(tmp_path / f'{name}.tif') as file:
            maps.append(file.read(1))
            assert file.colormap(1)[2] == (0, 0, 255, 255)
    assert_same_classes(*maps)
    assert_same_classes(OnnxSegmenter(changing.path)(noise(20, 70)), changing.torch(noise(20, 70)))


def test_a_fixed_size_dictates_the_window(fixed, write_raster, noise, tmp_path):
    model = OnnxSegmenter(fixed.path)
    assert (model.window, model.size) == (64, (64, 64))
    for call in (lambda: model(noise(70, 70), window=96), lambda: model(noise(70, 70), window=32),
                 lambda: predict_raster(model, write_raster(tmp_path / 'a.tif', noise(70, 70)), tmp_path / 'b.tif')):
        with pytest.raises(ValueError, match='is for windows of 64 px alone, not'):
            call()
    assert not (tmp_path / 'b.tif').exists()
    assert_same_classes(model(noise(100, 150)), fixed.torch(noise(100, 150)))


def test_images_smaller_than_a_fixed_size_are_filled_with_their_mirror_image(fixed, noise):
    small = noise(20, 33)
    filled = np.pad(small, ((0, 44), (0, 31), (0, 0)), 'symmetric')
    expected = fixed.torch.logits([filled])[0].argmax(0).numpy()[:20, :33]
    assert_same_classes(OnnxSegmenter(fixed.path)(small), expected)


def test_sizes_that_are_not_square_and_other_opsets(segmenter, noise, tmp_path):
    comparisons = export_onnx(segmenter, tmp_path / 'wide.onnx', (32, 96), opset=20)
    assert [(one.batch, one.height, one.width) for one in comparisons] == [(1, 32, 96)] * 2 + [(2, 32, 96)] * 2
    assert onnx.load(tmp_path / 'wide.onnx').opset_import[0].version == 20
    model, batch = OnnxSegmenter(tmp_path / 'wide.onnx'), images(3, 32, 96)
    torch.testing.assert_close(model.logits(batch), segmenter.logits(batch), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match='32 x 96 px, and maps are made of square windows'):
        model(noise(100, 100))


@pytest.mark.parametrize('bands, flip', [(3, False), (3, True), (1, False), (4, False)])
def test_bands_and_their_order(toy, tmp_path, bands, flip):
    config, checkpoint = toy(bands)
    cfg = Config.fromfile(config)
    cfg.model.data_preprocessor.update(bgr_to_rgb=flip)
    segmenter = Segmenter(cfg, checkpoint, 'cpu')
    export_onnx(segmenter, tmp_path / 'model.onnx', 32)
    model, batch = OnnxSegmenter(tmp_path / 'model.onnx'), images(2, 32, 32, bands)
    assert model.bands == bands
    torch.testing.assert_close(model.logits(batch), segmenter.logits(batch), atol=1e-4, rtol=0)
    metadata = {prop.key: prop.value for prop in onnx.load(tmp_path / 'model.onnx').metadata_props}
    # of the input, so of RGB: without conversion the numbers of the config are those of BGR
    expected = {(3, True): [110, 120, 130], (3, False): [130, 120, 110]}.get((bands, flip), [120] * bands)
    assert json.loads(metadata['egmim_mm.mean']) == expected


def test_a_raster_with_other_bands_is_refused(fixed, write_raster, noise, tmp_path):
    source = write_raster(tmp_path / 'a.tif', noise(70, 70, 5))
    with pytest.raises(TileReadError, match='has 5 bands, the model takes 3'):
        predict_raster(OnnxSegmenter(fixed.path), source, tmp_path / 'map.tif', window=64)
    with pytest.raises(ValueError, match=r'image must be \(H, W, 3\) uint8'):
        OnnxSegmenter(fixed.path)(noise(64, 64, 4))


@pytest.mark.parametrize('size, says', [(50, 'size 50 must be a multiple of 32'), ((64, 65), 'size 65'), (0, 'size 0'),
                                        ((32, 32, 32), 'height and width')])
def test_sizes_that_do_not_fit_are_refused(segmenter, tmp_path, size, says):
    with pytest.raises(ValueError, match=says):
        export_onnx(segmenter, tmp_path / 'model.onnx', size)
    assert not list(tmp_path.glob('*.onnx'))


@pytest.mark.parametrize('opset', [11, 999])
def test_opsets_that_do_not_exist_are_refused(segmenter, tmp_path, opset):
    with pytest.raises(ValueError, match=f'opset {opset} must lie in 18 to'):
        export_onnx(segmenter, tmp_path / 'model.onnx', 32, opset=opset)


def test_targets_are_not_overwritten_silently(segmenter, tmp_path):
    target = tmp_path / 'model.onnx'
    target.write_bytes(b'mine')
    with pytest.raises(ValueError, match='model.onnx exists: --overwrite'):
        export_onnx(segmenter, target, 32)
    with pytest.raises(ValueError, match='must end in .onnx'):
        export_onnx(segmenter, tmp_path / 'model.pth', 32)
    assert target.read_bytes() == b'mine'
    export_onnx(segmenter, target, 32, overwrite=True)
    assert OnnxSegmenter(target).window == 32


@pytest.mark.parametrize('error', [0.01, float('nan')])
def test_a_file_that_computes_something_else_is_not_written(segmenter, tmp_path, monkeypatch, error):
    right = segmenter.logits
    monkeypatch.setattr(segmenter, 'logits', lambda batch: right(batch) + error)
    with pytest.raises(ValueError, match='logits of ONNX and PyTorch differ by'):
        export_onnx(segmenter, tmp_path / 'model.onnx', 32)
    assert not list(tmp_path.glob('*.onnx'))


def test_a_model_that_runs_in_bfloat16_is_compared_in_float32(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, '_cpu_gain', lambda: 9.0)
    config, checkpoint = toy(3)
    plain = Segmenter(config, checkpoint, 'cpu')
    segmenter = Segmenter(config, checkpoint, 'cpu', cfg_options={'optim_wrapper.precision': 'auto'})
    batch = images(1, 32, 32)
    if precision.choose_precision('auto', 'cpu')[0] == 'bfloat16':
        assert (segmenter.logits(batch) - plain.logits(batch)).abs().max() > 1e-4
    assert all(one.difference < 1e-4 for one in export_onnx(segmenter, tmp_path / 'model.onnx', 32))
    assert segmenter.precision == 'auto'
    model = OnnxSegmenter(tmp_path / 'model.onnx')
    torch.testing.assert_close(model.logits(batch), plain.logits(batch), atol=1e-4, rtol=0)


def test_files_that_are_none_of_ours(fixed, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.onnx does not exist'):
        OnnxSegmenter(tmp_path / 'nowhere.onnx')
    for content in (b'', b'not an ONNX file', fixed.path.read_bytes()[:5000]):
        (tmp_path / 'broken.onnx').write_bytes(content)
        with pytest.raises(ValueError, match='broken.onnx is no ONNX model that onnxruntime'):
            OnnxSegmenter(tmp_path / 'broken.onnx')
    other = onnx.load(fixed.path)
    del other.metadata_props[:]
    onnx.save(other, tmp_path / 'other.onnx')
    with pytest.raises(ValueError, match='other.onnx does not say classes, .*export_onnx.py'):
        OnnxSegmenter(tmp_path / 'other.onnx')


def test_devices_and_packages_that_are_not_there(fixed, monkeypatch):
    import onnxruntime
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        with pytest.raises(ValueError, match='is the build for CPUs'):
            OnnxSegmenter(fixed.path, 'cuda')
    with pytest.raises(ValueError, match='run on cpu or cuda'):
        OnnxSegmenter(fixed.path, 'meta')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(EnvironmentProblem, match=r'package onnxruntime, .*\n.*egmim_mm\[onnx\]'):
        OnnxSegmenter(fixed.path)


def test_windows_of_changing_models_are_multiples_of_32(changing, noise):
    with pytest.raises(ValueError, match='window 48 must be a multiple of 32'):
        OnnxSegmenter(changing.path)(noise(64, 64), window=48)
