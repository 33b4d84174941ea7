"""A segmentation model out of an ONNX file of tools/export_onnx.py: no config, no checkpoint."""
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from egmim_mm.environment import EnvironmentProblem

from ..pixel_classifier import PixelClassifier
from ..windows import STRIDE

__all__ = ['PREFIX', 'KEYS', 'INPUT', 'OUTPUT', 'OnnxSegmenter', 'onnx_package']

INPUT, OUTPUT = 'image', 'logits'
PREFIX = 'egmim_mm.'
# Metadata of the file, JSON values: K names; K RGB triples; number of bands; side of the windows, px; of the
# checkpoint; normalisation of raw pixels, for each band of the input; [height, width], or null for any multiple of 32.
KEYS = ('classes', 'palette', 'bands', 'window', 'weights_sha256', 'mean', 'std', 'size')


def onnx_package(name: str) -> ModuleType:
    """The package, imported.

    Raises:
        EnvironmentProblem: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(f"ONNX needs the package {error.name}, which is not installed. Run:\n"
                                 "  pip install 'egmim_mm[onnx]'") from error


class OnnxSegmenter(PixelClassifier):
    """The model of an ONNX file, with the surface of :class:`Segmenter`.

    Args:
        model: The file, or its content.
        device: 'cpu', 'cuda', 'cuda:1'; None: a GPU if onnxruntime can use one.
        tta: Average over the image and its two mirror images: three times the time.
        providers: Execution providers of onnxruntime, instead of those for ``device``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No ONNX file, one that tools/export_onnx.py has not written, or a device that onnxruntime does not
            have.
        EnvironmentProblem: onnxruntime is not installed.
    """

    precision = 'float32'

    def __init__(self, model: str | Path | bytes, device: str | torch.device | None = None, tta: bool = False,
                 providers: Sequence | None = None) -> None:
        runtime = onnx_package('onnxruntime')
        self.name = 'the ONNX model' if isinstance(model, bytes) else str(model)
        if not isinstance(model, bytes) and not Path(model).is_file():
            raise FileNotFoundError(f'{model} does not exist')
        self.tta = tta
        providers = list(providers or _providers(runtime, device))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors, which are raised anyway
        try:
            self._session = runtime.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                                     providers=providers)
        except Exception as error:  # its exceptions share no other base
            raise ValueError(f'{self.name} is no ONNX model that onnxruntime {runtime.__version__} can run: '
                             f'{error}') from error
        on_gpu = 'CUDAExecutionProvider' in self._session.get_providers()
        if device is not None and torch.device(device).type == 'cuda' and not on_gpu:
            raise ValueError(f'onnxruntime {runtime.__version__} could not start on {device}: its CUDA libraries are '
                             'missing or of another version. Give --device cpu, or install what it asks for')
        self.device = torch.device(device or 'cuda') if on_gpu and torch.cuda.is_available() else torch.device('cpu')
        self._read_metadata()

    def _read_metadata(self) -> None:
        texts = self._session.get_modelmeta().custom_metadata_map
        missing = [name for name in KEYS if PREFIX + name not in texts]
        if missing:
            raise ValueError(f'{self.name} does not say {", ".join(missing)} in its metadata: it is no file of '
                             'tools/export_onnx.py. Export the model from its config and checkpoint')
        values = {name: json.loads(texts[PREFIX + name]) for name in KEYS}
        self.classes, self.palette = tuple(values['classes']), np.array(values['palette'], np.uint8)
        self.bands, self.window, self.weights_sha256 = values['bands'], values['window'], values['weights_sha256']
        self.size = tuple(values['size']) if values['size'] else None
        if self.size:
            self.window = min(self.size)

    def check_options(self, window: int, overlap: float, batch: int = 1) -> None:
        super().check_options(window, overlap, batch)
        if self.size and self.size[0] != self.size[1]:
            raise ValueError(f'{self.name} is for images of {self.size[0]} x {self.size[1]} px, and maps are made of '
                             'square windows: export it with --size N or --dynamic')
        if self.size and window != self.window:
            raise ValueError(f'{self.name} is for windows of {self.window} px alone, not {window}: give no other, or '
                             f'export it with --size {window} or --dynamic')
        if window % STRIDE:
            raise ValueError(f'window {window} must be a multiple of {STRIDE} px for an ONNX model')

    def inputs(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2))

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        pixels, (height, width) = inputs.numpy(), inputs.shape[2:]
        if self.size:  # an image smaller than a window is filled up with its mirror image
            pixels = np.pad(pixels, ((0, 0), (0, 0), (0, self.size[0] - height), (0, self.size[1] - width)),
                            'symmetric')
        result, = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(pixels)})
        return torch.from_numpy(result)[:, :, :height, :width].to(self.device)


def _providers(runtime: ModuleType, device: str | torch.device | None) -> list:
    device = torch.device(device) if device else None
    has_cuda = 'CUDAExecutionProvider' in runtime.get_available_providers()
    if device is not None and device.type not in ('cpu', 'cuda'):
        raise ValueError(f'device {device}: ONNX models run on cpu or cuda')
    if device is not None and device.type == 'cuda' and not has_cuda:
        raise ValueError(f'the installed onnxruntime {runtime.__version__} is the build for CPUs: pip install '
                         'onnxruntime-gpu in its place, or give --device cpu')
    if not has_cuda or (device is not None and device.type == 'cpu'):
        return ['CPUExecutionProvider']
    index = device.index if device else None
    if index is None:
        index = torch.cuda.current_device() if torch.cuda.is_available() else 0
    return [('CUDAExecutionProvider', dict(device_id=index)), 'CPUExecutionProvider']
