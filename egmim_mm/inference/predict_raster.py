"""From a raster to its class map, whatever its size: every map is made of parts, most of one."""
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egmim_mm.storage.band_scaling import BandScaling

from .blending import NODATA, Strip, blended_strips
from .map_job import MapJob, Part, check_outputs
from .pixel_classifier import PixelClassifier
from .raster_map import PROBABILITY_STEPS, MapRows, map_draft

__all__ = ['join_parts', 'predict_part', 'predict_raster']

WRITES_AHEAD = 2  # strips that wait for the disk, at most


def predict_raster(segmenter: PixelClassifier, source: str | Path, target: str | Path, window: int = 512,
                   overlap: float = 0.25, batch: int = 8, bands: Sequence[int] | None = None,
                   scaling: BandScaling | None = None, nodata: float | str | None = None,
                   probabilities: str | Path | None = None, confidence: str | Path | None = None, settings: str = '',
                   on_windows: Callable[[int], Any] | None = None) -> None:
    """Write the class map of a raster, with its size, transform and coordinate system.

    Windows are predicted in batches and blended, row by row, while a thread reads ahead and another one writes. Memory
    does not depend on the height of the raster; of the width it holds one row of windows in 8 bits and the class scores
    of the overlap. Pixels without data become 255. The files appear when they are complete, ``target`` last.

    Args:
        segmenter: The model.
        source: Any raster GDAL reads, PNG and JPEG too.
        target: Cloud-optimised GeoTIFF with the classes as palette, or PNG (without the place) if it ends in .png.
        window, overlap, batch, bands, scaling, nodata: See :func:`~egmim_mm.inference.map_rasters`.
        probabilities: GeoTIFF with a band for each class; 250 is a probability of 1, 255 no data.
        confidence: GeoTIFF with the highest of them.
        settings: Text kept in the files.
        on_windows: Called with the number of windows finished.

    Raises:
        TileReadError: The raster cannot be read, is truncated, or does not fit the model.
        ValueError: Options out of range, or a target that is the source.
        OSError: A target cannot be written; nothing of it is left.
    """
    extras = dict(probabilities=probabilities, confidence=confidence)
    segmenter.check_options(window, overlap, batch)
    with closing(MapJob(Path(source), Path(target), segmenter.bands, window, overlap, bands, scaling, nodata, settings,
                        {kind: Path(path) for kind, path in extras.items() if path is not None})) as job:
        check_outputs([job])
        job.open()
        predict_part(segmenter, job.whole, batch, on_windows=on_windows)


def predict_part(segmenter: PixelClassifier, part: Part, batch: int, run: str = '',
                 on_windows: Callable[[int], Any] | None = None) -> None:
    """Predict the rows of a part: all of them into the maps, some into files from which :func:`join_parts` makes them.

    Args:
        segmenter: The model.
        part: Of a job.
        batch: Windows at once.
        run: See :meth:`Part.rasters`.
        on_windows: Called with the number of windows finished.

    Raises:
        TileReadError, OSError, RasterioError: As :func:`predict_raster`; nothing is left of the files.
    """
    raster = part.job.open()
    with ExitStack() as stack:
        drafts = _drafts(stack, segmenter, part, run)
        strips = stack.enter_context(closing(blended_strips(
            segmenter.probabilities, len(segmenter.classes), raster, part.job.grid, batch, len(drafts) > 1,
            segmenter.device, on_windows, part.rows)))
        with _background_writer(drafts) as write:
            for strip in strips:
                write(strip)


def join_parts(segmenter: PixelClassifier, parts: Sequence[Part], run: str) -> None:
    """Make the maps from the files of all parts of a raster: byte for byte those of a single part.

    Args:
        segmenter: The model.
        parts: From the first row to the last.
        run: That of the parts.

    Raises:
        TileReadError, RasterioError, OSError: A part cannot be read, or a map not be written; nothing of it is left.
    """
    with ExitStack() as stack:
        for kind, draft in _drafts(stack, segmenter, parts[0].job.whole, run).items():
            for part in parts:
                draft.add(part.rasters(run)[kind])


def _drafts(stack: ExitStack, segmenter: PixelClassifier, part: Part, run: str) -> dict[str, MapRows]:
    """What the rasters of a part are written to; they appear when the stack ends, the map last."""
    bands = dict(probabilities=segmenter.classes, confidence=['confidence'], classes=['class'])
    place = {**part.job.place, 'height': part.height}
    return {kind: stack.enter_context(map_draft(path, place, bands[kind],
                                                segmenter.palette if kind == 'classes' else None, part.job.settings,
                                                is_part=not part.is_whole)) for kind, path in part.rasters(run).items()}


@contextmanager
def _background_writer(drafts: Mapping[str, MapRows]) -> Iterator[Callable[[Strip], None]]:
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


def _write(drafts: Mapping[str, MapRows], strip: Strip) -> None:
    for kind, draft in drafts.items():
        if kind == 'classes':
            draft.write(strip.classes[None])
            continue
        values = strip.probabilities if kind == 'probabilities' else strip.probabilities.amax(0, keepdim=True)
        steps = (values * PROBABILITY_STEPS).round().to(torch.uint8).numpy()
        draft.write(np.where(strip.classes == NODATA, np.uint8(NODATA), steps))
