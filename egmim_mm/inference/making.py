"""The maps of many rasters, by one process or by all that torchrun started."""
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError
from torch import distributed

from egmim_mm.storage.tile_reading import TileReadError

from .folders import open_jobs, share
from .map_job import MapJob, Part
from .pixel_classifier import PixelClassifier
from .polygons import write_polygons
from .predict_raster import join_parts, predict_part

__all__ = ['Watch', 'make_maps']

FAILURES = (TileReadError, RasterioError, OSError)  # of one raster; the others are made


class Watch:
    """What :func:`make_maps` tells about the work of its process; nothing is done with it."""

    def planned(self, parts: Sequence[Part]) -> None:
        """These are all parts of this process."""

    def started(self, part: Part) -> None:
        """The next one begins."""

    def advanced(self, windows: int) -> None:
        """So many windows more are finished."""

    def failed(self, message: str) -> None:
        """A raster cannot be done; the others go on."""


def make_maps(segmenter: PixelClassifier, jobs: Sequence[MapJob], batch: int = 8,
              watch: Watch | None = None) -> dict[Path, str]:
    """Make the maps of all jobs, together with the other processes of torch.distributed's group, if there is one.

    The files do not depend on the number of processes: a raster that is divided becomes the same bytes. All processes
    have to see the same folders, and to be given the same jobs.

    Args:
        segmenter: The model.
        jobs: Rasters and maps.
        batch: Windows at once.
        watch: Is told how this process gets on.

    Returns:
        Map -> what went wrong with it, the same in all processes.
    """
    rank, processes = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    run = str(_gather(os.getpid(), processes)[0])  # nobody writes before all know what is there
    files: list[Path] = []
    try:
        shares = share(open_jobs([job for job in jobs if not job.only_polygons]), processes)
        failed = _merged(_predict(segmenter, shares[rank], batch, run, files, watch or Watch()), processes)
        divided: dict[MapJob, list[range]] = {}
        for part in (part for parts in shares for part in parts if not part.is_whole):
            divided.setdefault(part.job, []).append(part.rows)
        own = [job for job in jobs[rank::processes] if job.target not in failed]
        later = failed | _complete(segmenter, own, divided, run, watch or Watch())
        return _merged(later, processes)  # parts are removed when all have read them
    finally:
        for file in files:
            file.unlink(missing_ok=True)
        for job in jobs:
            job.close()


def _predict(segmenter: PixelClassifier, parts: Sequence[Part], batch: int, run: str, files: list[Path],
             watch: Watch) -> dict[Path, str]:
    """Predict the parts of this process; the files that wait to be joined are added to ``files``."""
    failed = {}
    left = Counter(part.job for part in parts)
    watch.planned(parts)
    for part in parts:
        watch.started(part)
        try:
            files += predict_part(segmenter, part, batch, run, watch.advanced)
        except FAILURES as error:
            failed[part.job.target] = _message(part.job, error)
            watch.failed(failed[part.job.target])
        left[part.job] -= 1
        if not left[part.job]:
            part.job.close()
    return failed


def _complete(segmenter: PixelClassifier, jobs: Sequence[MapJob], divided: dict[MapJob, list[range]], run: str,
              watch: Watch) -> dict[Path, str]:
    """Join the parts, if there are some, and make the polygons, if they are wanted."""
    failed = {}
    for job in jobs:
        try:
            if job in divided:
                join_parts(segmenter, job, sorted(divided[job], key=lambda rows: rows.start), run)
            if 'polygons' in job.extras:
                write_polygons(job.target, job.extras['polygons'], segmenter.classes, job.settings)
        except FAILURES as error:
            failed[job.target] = _message(job, error)
            watch.failed(failed[job.target])
    return failed


def _message(job: MapJob, error: Exception) -> str:
    text = ' '.join(str(error).split())
    return text if str(job.source) in text else f'{job.source}: {text}'


def _gather(value: Any, processes: int) -> list[Any]:
    everywhere = [value] * processes
    if processes > 1:
        distributed.all_gather_object(everywhere, value)
    return everywhere


def _merged(failed: dict[Path, str], processes: int) -> dict[Path, str]:
    merged: dict[Path, str] = {}
    for of_one in _gather(failed, processes):
        merged = {**of_one, **merged}  # of a raster that is divided the first process's
    return merged
