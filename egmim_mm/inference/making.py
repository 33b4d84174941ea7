"""The maps of many rasters, by one process or by all that torchrun started."""
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError
from rich.console import Console
from rich.progress import Progress
from torch import distributed

from egmim_mm.precision import choose_precision
from egmim_mm.storage.tile_reading import TileReadError

from .folders import open_jobs, share
from .map_job import MapJob, Part
from .pixel_classifier import PixelClassifier
from .polygons import write_polygons
from .predict_raster import join_parts, predict_part

__all__ = ['make_maps']

FAILURES = (TileReadError, RasterioError, OSError)  # of one raster; the others are made


def make_maps(segmenter: PixelClassifier, jobs: Sequence[MapJob], batch: int = 8,
              progress: Progress | None = None) -> dict[Path, str]:
    """Make the maps of all jobs, together with the other processes of torch.distributed's group, if there is one.

    The files do not depend on the number of processes: a raster that is divided becomes the same bytes. All processes
    have to see the same folders, and to be given the same jobs. Where they would compute in different precisions,
    float32 is taken.

    Args:
        segmenter: The model.
        jobs: Rasters and maps.
        batch: Windows at once.
        progress: Shows how this process gets on, and names a raster that fails at once.

    Returns:
        Map -> what went wrong with it, the same in all processes.
    """
    rank, processes = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    progress = progress or Progress(console=Console(quiet=True), disable=True)
    run = str(_gather(os.getpid(), processes)[0])  # nobody writes before all know what is there
    if len(set(_gather(choose_precision(segmenter.precision, segmenter.device.type)[0], processes))) > 1:
        segmenter.precision = 'float32'
    shares = share(open_jobs([job for job in jobs if not job.only_polygons]), processes)
    divided: dict[MapJob, list[Part]] = {}
    for part in (part for parts in shares for part in parts if not part.is_whole):
        divided.setdefault(part.job, []).append(part)
    try:
        failed = _merged(_predict(segmenter, shares[rank], batch, run, progress), processes)
        own = jobs[rank::processes]
        for job in own:
            if job in divided and job.target in failed:  # said once, and not by each process that met it
                _say(progress, failed[job.target])
        later = _complete(segmenter, [job for job in own if job.target not in failed], divided, run, progress)
        return _merged(failed | later, processes)  # parts are removed when all have read them
    finally:
        for part in shares[rank]:
            for file in () if part.is_whole else part.rasters(run).values():
                file.unlink(missing_ok=True)
        for job in jobs:
            job.close()


def _predict(segmenter: PixelClassifier, parts: Sequence[Part], batch: int, run: str,
             progress: Progress) -> dict[Path, str]:
    """Predict the parts of this process."""
    failed: dict[Path, str] = {}
    left = Counter(part.job for part in parts)
    task = progress.add_task('', total=sum(part.windows for part in parts), visible=bool(parts))
    before = 0
    for number, part in enumerate(parts, 1):
        progress.update(task, description=f'{number}/{len(parts)} {part.job.source.name}', completed=before)
        before += part.windows
        with _noted(part.job, failed, progress if part.is_whole else None):
            predict_part(segmenter, part, batch, run, lambda windows: progress.advance(task, windows))
        left[part.job] -= 1
        if not left[part.job]:
            part.job.close()
    return failed


def _complete(segmenter: PixelClassifier, jobs: Sequence[MapJob], divided: dict[MapJob, list[Part]], run: str,
              progress: Progress) -> dict[Path, str]:
    """Join the parts, if there are some, and make the polygons, if they are wanted."""
    failed: dict[Path, str] = {}
    for job in jobs:
        with _noted(job, failed, progress):
            if job in divided:
                join_parts(segmenter, sorted(divided[job], key=lambda part: part.rows.start), run)
            if 'polygons' in job.extras:
                write_polygons(job.target, job.extras['polygons'], segmenter.classes, job.settings)
    return failed


@contextmanager
def _noted(job: MapJob, failed: dict[Path, str], progress: Progress | None) -> Iterator[None]:
    """A failure of this raster is written down, and said if there is a ``progress``; the others go on."""
    try:
        yield
    except FAILURES as error:
        text = ' '.join(str(error).split())
        failed[job.target] = text if str(job.source) in text else f'{job.source}: {text}'
        if progress:
            _say(progress, failed[job.target])


def _say(progress: Progress, message: str) -> None:
    progress.console.print(f'Failed: {message}', soft_wrap=True, markup=False, highlight=False)


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
