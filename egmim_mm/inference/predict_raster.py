"""From a raster to its class map, whatever its size; whole, or divided over processes."""
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egmim_mm.storage.band_scaling import BandScaling
from egmim_mm.storage.raster_rows import RasterRows

from .blending import NODATA, Grid, Strip, blended_strips
from .pixel_classifier import PixelClassifier
from .raster_map import PROBABILITY_STEPS, MapDraft
from .raster_part import PartDraft, read_part

__all__ = ['join_parts', 'predict_part', 'predict_raster']

WRITES_AHEAD = 2  # strips that wait for the disk, at most


def predict_raster(segmenter: PixelClassifier, source: str | Path, target: str | Path, window: int = 512,
                   overlap: float = 0.25, batch: int = 8, bands: Sequence[int] | None = None,
                   scaling: BandScaling | None = None, probabilities: str | Path | None = None,
                   confidence: str | Path | None = None, settings: str = '',
                   on_windows: Callable[[int], Any] | None = None) -> None:
    """Write the class map of a raster, with its size, transform and coordinate system.

    Windows are predicted in batches and blended, row by row, while a thread reads ahead and another one writes. Memory
    does not depend on the height of the raster; of the width it holds one row of windows in 8 bits and the class scores
    of the overlap. Pixels without data become 255. The files appear when they are complete, ``target`` last.

    Args:
        segmenter: The model.
        source: Any raster GDAL reads, PNG and JPEG too.
        target: Cloud-optimised GeoTIFF with the classes as palette, or PNG (without the place) if it ends in .png.
        window: Side of the windows, px; an image smaller than that is one window.
        overlap: Share of a window that its neighbour covers too, in [0, 0.9].
        batch: Windows at once.
        bands: Bands of the file, from 1 on; None: all but alpha.
        scaling: To 8 bits; None: the samples are 8-bit.
        probabilities: GeoTIFF with a band for each class; 250 is a probability of 1, 255 no data.
        confidence: GeoTIFF with the highest of them.
        settings: Text kept in the files.
        on_windows: Called with the number of windows finished.

    Raises:
        TileReadError: The raster cannot be read, is truncated, or does not fit the model.
        ValueError: Options out of range, or a target that is the source.
        OSError: A target cannot be written; nothing of it is left.
    """
    outputs = _outputs(source, target, probabilities, confidence)
    _check(segmenter, window, overlap, batch)
    with ExitStack() as stack:
        raster = stack.enter_context(RasterRows(str(source), segmenter.bands, bands, scaling))
        drafts = _drafts(stack, outputs, raster, segmenter, settings)
        _predict(segmenter, raster, drafts, Grid(raster.height, raster.width, window, overlap), batch, on_windows)
        for draft in drafts.values():
            draft.finish()


def predict_part(segmenter: PixelClassifier, source: str | Path, target: str | Path, rows: range, run: str,
                 window: int = 512, overlap: float = 0.25, batch: int = 8, bands: Sequence[int] | None = None,
                 scaling: BandScaling | None = None, probabilities: str | Path | None = None,
                 confidence: str | Path | None = None, on_windows: Callable[[int], Any] | None = None) -> list[Path]:
    """Predict some rows of windows into files beside the targets, from which :func:`join_parts` makes the maps.

    Args:
        rows: Rows of windows; see :func:`~egmim_mm.inference.blending.blended_strips`.
        run: Part of the files' names, the same for all parts.
        segmenter, source, target, window, overlap, batch, bands, scaling, probabilities, confidence, on_windows: See
            :func:`predict_raster`.

    Returns:
        list[Path]: The files.

    Raises:
        TileReadError, ValueError, OSError: As :func:`predict_raster`; nothing is left of the files.
    """
    outputs = _outputs(source, target, probabilities, confidence)
    _check(segmenter, window, overlap, batch)
    with ExitStack() as stack:
        raster = stack.enter_context(RasterRows(str(source), segmenter.bands, bands, scaling))
        drafts = {kind: stack.enter_context(PartDraft(path, run, rows)) for kind, path in outputs.items()}
        _predict(segmenter, raster, drafts, Grid(raster.height, raster.width, window, overlap), batch, on_windows, rows)
        return [draft.finish() for draft in drafts.values()]


def join_parts(segmenter: PixelClassifier, source: str | Path, target: str | Path, parts: Sequence[range], run: str,
               window: int = 512, overlap: float = 0.25, bands: Sequence[int] | None = None,
               scaling: BandScaling | None = None, probabilities: str | Path | None = None,
               confidence: str | Path | None = None, settings: str = '') -> None:
    """Make the maps from the files of all parts: byte for byte those of :func:`predict_raster`.

    Args:
        parts: The ``rows`` of each :func:`predict_part`, in ascending order; together they are all rows.
        run: That of the parts.
        segmenter, source, target, window, overlap, bands, scaling, probabilities, confidence, settings: See
            :func:`predict_raster`.

    Raises:
        TileReadError, OSError: A part cannot be read, or a target not be written; nothing of it is left.
    """
    outputs = _outputs(source, target, probabilities, confidence)
    with ExitStack() as stack:
        raster = stack.enter_context(RasterRows(str(source), segmenter.bands, bands, scaling))
        grid = Grid(raster.height, raster.width, window, overlap)
        for kind, draft in _drafts(stack, outputs, raster, segmenter, settings).items():
            count = len(segmenter.classes) if kind == 'probabilities' else 1
            for rows in parts:
                for strip in read_part(outputs[kind], run, rows, grid, count):
                    draft.write(strip)
            draft.finish()


def _outputs(source, target, probabilities, confidence) -> dict[str, Path]:
    """Path of each kind, in the order of appearance."""
    outputs = dict(probabilities=probabilities, confidence=confidence, classes=target)
    outputs = {kind: Path(path) for kind, path in outputs.items() if path is not None}
    if Path(source).resolve() in [path.resolve() for path in outputs.values()]:
        raise ValueError(f'{source} would be overwritten by its own map; write it elsewhere')
    return outputs


def _check(segmenter: PixelClassifier, window: int, overlap: float, batch: int) -> None:
    segmenter.check_window(window, overlap)
    if batch < 1:
        raise ValueError(f'batch {batch} must be at least 1')


def _drafts(stack: ExitStack, outputs: Mapping[str, Path], raster: RasterRows, segmenter: PixelClassifier,
            settings: str) -> dict[str, MapDraft]:
    names = dict(probabilities=segmenter.classes, confidence=['confidence'], classes=['class'])
    return {kind: stack.enter_context(MapDraft(path, raster.source, names[kind],
                                               segmenter.palette if kind == 'classes' else None, settings))
            for kind, path in outputs.items()}


def _predict(segmenter: PixelClassifier, raster: RasterRows, drafts: Mapping[str, MapDraft | PartDraft], grid: Grid,
             batch: int, on_windows: Callable[[int], Any] | None, rows: range | None = None) -> None:
    strips = blended_strips(segmenter.probabilities, len(segmenter.classes), raster, grid, batch, len(drafts) > 1,
                            segmenter.device, on_windows, rows)
    with _background_writer(drafts) as write:
        for strip in strips:
            write(strip)


@contextmanager
def _background_writer(drafts: Mapping[str, MapDraft | PartDraft]) -> Iterator[Callable[[Strip], None]]:
    """Function that has another thread write a strip; its errors are raised at one of the next ones, or at the end."""
    pending: deque = deque()
    with ThreadPoolExecutor(1) as pool:

        def write(strip: Strip) -> None:
            pending.append(pool.submit(_write, drafts, strip))
            if len(pending) > WRITES_AHEAD:
                pending.popleft().result()

        yield write
        while pending:
            pending.popleft().result()


def _write(drafts: Mapping[str, MapDraft | PartDraft], strip: Strip) -> None:
    for kind, draft in drafts.items():
        if kind == 'classes':
            draft.write(strip.classes[None])
            continue
        values = strip.probabilities if kind == 'probabilities' else strip.probabilities.amax(0, keepdim=True)
        steps = (values * PROBABILITY_STEPS).round().to(torch.uint8).numpy()
        draft.write(np.where(strip.classes == NODATA, np.uint8(NODATA), steps))
