"""A segmentation model as one ONNX file, from raw pixels to logits, compared with PyTorch before it is written."""
import copy
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from egmim_mm.records.whole_files import write_whole

from ..segmenter import Segmenter, encode_decode
from ..windows import STRIDE
from .exportable import GatheredWindows, exportable
from .segmenter import INPUT, KEYS, OUTPUT, PREFIX, OnnxSegmenter, onnx_package

__all__ = ['OPSET', 'TOLERANCE', 'Comparison', 'compare', 'export_checkpoint', 'export_onnx']

OPSET = 18  # the oldest that PyTorch's exporter writes, so that most runtimes read it
TOLERANCE = 1e-3  # of logits
_LARGEST = 2**31 - 2**24  # bytes: a protocol buffer ends at 2 GiB, and the graph takes some


@dataclass(frozen=True)
class Comparison:
    """Largest difference of logits between ONNX and PyTorch on ``batch`` images of ``height`` x ``width`` px."""

    kind: str
    batch: int
    height: int
    width: int
    difference: float

    def __str__(self) -> str:
        return (f'{self.kind:>13}, {self.batch} x {self.height} x {self.width} px: logits differ by at most '
                f'{self.difference:.1e}')


class RawPixels(nn.Module):
    """A segmentor that takes raw pixels: (n, bands, H, W) uint8, RGB if there are three -> logits (n, K, H, W).

    Args:
        model: Segmentor of MMSegmentation; its preprocessor gives ``mean`` and ``std``, (bands, 1, 1), for the input.
        bands: Number of bands.
    """

    def __init__(self, model: nn.Module, bands: int) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        # mean and std are in the order that the network sees; without conversion that is the loader's, BGR
        self.flip = bands == 3 and not preprocessor._channel_conversion
        for name, neutral in (('mean', 0), ('std', 1)):
            value = getattr(preprocessor, name) if preprocessor._enable_normalize else torch.tensor(float(neutral))
            value = value.detach().float().cpu().reshape(-1, 1, 1).expand(bands, 1, 1)
            self.register_buffer(name, (value.flip(0) if self.flip else value).clone())
        self.model = exportable(model)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, bands, H, W) uint8 -> (n, K, H, W) float32."""
        x = (image.float() - self.mean) / self.std
        return encode_decode(self.model, x.flip(1) if self.flip else x, 1)


def export_onnx(segmenter: Segmenter, target: str | Path, size: int | Sequence[int] | None = None,
                dynamic: bool = False, opset: int = OPSET, overwrite: bool = False) -> list[Comparison]:
    """Write a model as an ONNX file, with all that :class:`OnnxSegmenter` needs in its metadata.

    The batch is of any size. The file is checked, run by onnxruntime on a CPU, and compared with PyTorch on noise and
    on smooth random images of several sizes; it is written only if all logits agree to :data:`TOLERANCE`.

    Args:
        segmenter: On the CPU.
        target: The file, ending in .onnx.
        size: Height and width of the images, or one number for both, px, multiples of 32; None: the model's window.
        dynamic: Take every height and width that is a multiple of 32; ``size`` is then where it is compared first.
        opset: Version of the ONNX operators.
        overwrite: Replace a file that is there.

    Returns:
        One for each size and kind of image.

    Raises:
        ValueError: A target that exists or has another ending, sizes that are not multiples of 32, an unknown opset, a
            model that cannot be exported or is too large for one file, or logits that differ.
        EnvironmentProblem: onnx, onnxscript or onnxruntime is not installed.
    """
    target = Path(target)
    height, width = _check(segmenter, target, size, overwrite)
    onnx = onnx_package('onnx')
    for name in ('onnxscript', 'onnxruntime'):
        onnx_package(name)
    if not OPSET <= opset <= onnx.defs.onnx_opset_version():
        raise ValueError(f'opset {opset} must lie in {OPSET} to {onnx.defs.onnx_opset_version()}')
    model = RawPixels(segmenter.model, segmenter.bands).eval()
    proto = _trace(model, segmenter.bands, None if dynamic else (height, width), opset)
    metadata = dict(classes=segmenter.classes, palette=segmenter.palette.tolist(), bands=segmenter.bands,
                    window=segmenter.window, weights_sha256=segmenter.weights_sha256,
                    mean=model.mean.flatten().tolist(), std=model.std.flatten().tolist(),
                    size=None if dynamic else [height, width])
    onnx.helper.set_model_props(proto, {PREFIX + name: json.dumps(metadata[name]) for name in KEYS})
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    shapes = [(1, height, width), (2, 160, 96), (1, 32, 64)] if dynamic else [(1, height, width), (2, height, width)]
    comparisons = list(compare(segmenter, content, shapes))
    for one in comparisons:
        if not one.difference <= TOLERANCE:  # NaN too
            raise ValueError(f'logits of ONNX and PyTorch differ by {one.difference:.2g} on {one.kind} of {one.height} '
                             f'x {one.width} px, more than {TOLERANCE}: {target} is not written. Try another --opset, '
                             f'or without --dynamic')
    write_whole(target, content)
    return comparisons


def export_checkpoint(config: str | Path, checkpoint: str | Path, out: str | Path, trust_checkpoint: bool = False,
                      cfg_options: dict[str, Any] | None = None, **options) -> None:
    """What tools/export_onnx.py does: load the model of a checkpoint, export it and print how far the two differ.

    Args:
        config, checkpoint, trust_checkpoint, cfg_options: See :class:`Segmenter`.
        out: The file, ending in .onnx.
        options: The others of :func:`export_onnx`.
    """
    segmenter = Segmenter(config, checkpoint, 'cpu', trust=trust_checkpoint, cfg_options=cfg_options)
    print('Exporting: this takes minutes', flush=True)
    for comparison in export_onnx(segmenter, out, **options):
        print(comparison)
    print(f'{out} written')


def _check(segmenter: Segmenter, target: Path, size: int | Sequence[int] | None, overwrite: bool) -> tuple[int, int]:
    if target.suffix != '.onnx':
        raise ValueError(f'{target}: the file must end in .onnx')
    if target.exists() and not overwrite:
        raise ValueError(f'{target} exists: --overwrite replaces it')
    if segmenter.device.type != 'cpu':
        raise ValueError('the model must be on the CPU to be exported: Segmenter(..., device="cpu")')
    sides = [segmenter.window] if size is None else [size] if isinstance(size, int) else list(size)
    if len(sides) not in (1, 2):
        raise ValueError(f'size is one number, or height and width; got {sides}')
    for side in sides:
        if side < STRIDE or side % STRIDE:
            raise ValueError(f'size {side} must be a multiple of {STRIDE} px'
                             + (': give one with --size' if size is None else ''))
    weights = sum(tensor.numel() * tensor.element_size() for tensor in segmenter.model.state_dict().values())
    if weights > _LARGEST:
        raise ValueError(f'{weights / 2**30:.1f} GiB of weights do not fit into one ONNX file, which ends at 2 GiB')
    return sides[0], sides[-1]


def _trace(model: RawPixels, bands: int, size: tuple[int, int] | None, opset: int):
    """ModelProto of a model for images of a size; None: any."""
    dims, example = {0: torch.export.Dim('batch')}, size
    if size is None:
        dims |= {2: STRIDE * torch.export.Dim('rows'), 3: STRIDE * torch.export.Dim('columns')}
        # at least two windows along each axis of the last stage: PyTorch takes a one in the example for a constant
        window = max([part.window for part in model.modules() if isinstance(part, GatheredWindows)], default=2)
        example = STRIDE * (window + 1), STRIDE * (2 * window + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of the exporter about itself
            program = torch.onnx.export(model, (torch.zeros(2, bands, *example, dtype=torch.uint8), ), dynamo=True,
                                        opset_version=opset, input_names=[INPUT], output_names=[OUTPUT],
                                        dynamic_shapes=(dims, ), verbose=False)
    except torch.onnx.OnnxExporterError as error:
        advice = ' A model that takes one size alone may be possible: leave --dynamic out.' if size is None else ''
        raise ValueError(f"PyTorch's exporter cannot turn this model into ONNX at opset {opset}.{advice} Its reason: "
                         f'{error.__cause__ or error}') from error
    proto = program.model_proto
    written = next(entry.version for entry in proto.opset_import if not entry.domain)
    if written != opset:  # a conversion that fails leaves the exporter's own
        raise ValueError(f"PyTorch's exporter wrote opset {written} and could not convert it to {opset}: give --opset "
                         f'{written}')
    return proto


def compare(segmenter: Segmenter, content: bytes, shapes: Sequence[tuple[int, int, int]]) -> list[Comparison]:
    """Run both on noise and on smooth random images, (batch, height, width) of which are given.

    Args:
        segmenter: The model in PyTorch.
        content: The ONNX file.
        shapes: Of the images.
    """
    session, rng = OnnxSegmenter(content, 'cpu'), np.random.default_rng(0)
    segmenter = copy.copy(segmenter)
    segmenter.precision = 'float32'  # that of the file
    comparisons = []
    for batch, height, width in shapes:
        for kind, make in (('noise', _noise), ('smooth images', _smooth)):
            images = [make(rng, height, width, segmenter.bands) for _ in range(batch)]
            ours, theirs = segmenter.logits(images), session.logits(images)
            comparisons.append(Comparison(kind, batch, height, width, float((ours - theirs).abs().max())))
    return comparisons


def _noise(rng: np.random.Generator, height: int, width: int, bands: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, bands), np.uint8)


def _smooth(rng: np.random.Generator, height: int, width: int, bands: int) -> np.ndarray:
    """Noise at several scales, as much at each: the spectrum of photographs."""
    image = torch.zeros(1, bands, height, width)
    for cells in (2, 4, 8, 16):
        coarse = torch.from_numpy(rng.standard_normal((1, bands, cells, cells), np.float32))
        image += nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    return (128 + 32 * image[0]).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
