"""The maps of many rasters, by one process or by all that torchrun started."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError
from torch import distributed

from egmim_mm.storage.tile_reading import TileReadError

from .folders import Job, Part, share
from .pixel_classifier import PixelClassifier
from .polygons import read_polygon_settings, write_polygons
from .predict_raster import join_parts, predict_part, predict_raster
from .raster_map import read_settings

__all__ = ['Watch', 'check_outputs', 'is_current', 'make_maps', 'output_paths']

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


def output_paths(job: Job, kinds: Sequence[str]) -> dict[str, Path]:
    """The files of a job: the map (``target``), and of ``probabilities``, ``confidence``, ``polygons`` those wanted."""
    target = job.target
    names = dict(probabilities=f'{target.stem}_probabilities.tif', confidence=f'{target.stem}_confidence.tif',
                 polygons=f'{target.stem}.gpkg')
    return dict(target=target, **{kind: target.with_name(name) for kind, name in names.items() if kind in kinds})


def check_outputs(jobs: Sequence[Job], kinds: Sequence[str]) -> None:
    """Raise a ValueError if two rasters would be written to one file, or one to itself."""
    writers: dict[Path, Path] = {}
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        for path in output_paths(job, kinds).values():
            if path.resolve() in sources:
                raise ValueError(f'{path} would be overwritten by a map; write the maps elsewhere')
            if (other := writers.setdefault(path, job.source)) != job.source:
                raise ValueError(f'{other} and {job.source} would both be written to {path}; give them other names, or '
                                 'each its own --out')


def is_current(path: Path, settings: str) -> bool:
    """Whether a file is there, and was made with these settings."""
    return (read_polygon_settings if path.suffix == '.gpkg' else read_settings)(path) == settings


def make_maps(segmenter: PixelClassifier, jobs: Sequence[Job], kinds: Sequence[str], settings: str, keep: bool = False,
              watch: Watch | None = None, **options) -> dict[Path, str]:
    """Make the maps of all jobs, together with the other processes of torch.distributed's group, if there is one.

    The files do not depend on the number of processes: a raster that is divided becomes the same bytes. All processes
    have to see the same folders, and to be given the same jobs.

    Args:
        segmenter: The model.
        jobs: Rasters and maps.
        kinds: What is made besides the maps, see :func:`output_paths`.
        settings: Text kept in the files.
        keep: Rasters' maps that are current are kept, and only the polygons made of them.
        watch: Is told how this process gets on.
        options: ``window``, ``overlap``, ``batch``, ``bands`` and ``scaling`` of
            :func:`~egmim_mm.inference.predict_raster`.

    Returns:
        dict: Map -> what went wrong with it, the same in all processes.
    """
    rank, processes = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    rasters = {job.target: {kind: path for kind, path in output_paths(job, kinds).items() if kind != 'polygons'}
               for job in jobs}
    todo = [job for job in jobs
            if not (keep and all(is_current(path, settings) for path in rasters[job.target].values()))]
    run = str(_gather(os.getpid(), processes)[0])  # nobody writes before all know what is there
    shares = share(todo, processes)
    ranges: dict[Path, list[range]] = {}  # of the rasters that are divided
    for part in (part for parts in shares for part in parts if part.rows):
        ranges.setdefault(part.job.target, []).append(part.rows)
    failed, files = {}, []
    watch = watch or Watch()
    watch.planned(shares[rank])
    try:
        for part in shares[rank]:
            paths = rasters[part.job.target]
            watch.started(part)
            try:
                if part.rows is None:
                    predict_raster(segmenter, part.job.source, settings=settings, on_windows=watch.advanced, **paths,
                                   **options)
                else:
                    files += predict_part(segmenter, part.job.source, rows=part.rows, run=run,
                                          on_windows=watch.advanced, **paths, **options)
            except FAILURES as error:
                failed[part.job.target] = _message(part.job, error)
                watch.failed(failed[part.job.target])
        failed = _merged(failed, processes)
        later = dict(failed)
        for number, job in enumerate(jobs):
            if number % processes == rank and job.target not in failed:
                try:
                    _complete(segmenter, job, rasters[job.target], ranges.get(job.target), run, kinds, settings,
                              options)
                except FAILURES as error:
                    later[job.target] = _message(job, error)
                    watch.failed(later[job.target])
        return _merged(later, processes)  # parts are removed when all have read them
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _complete(segmenter: PixelClassifier, job: Job, paths: Mapping[str, Path], ranges: list[range] | None, run: str,
              kinds: Sequence[str], settings: str, options: Mapping[str, Any]) -> None:
    """Join the parts, if there are some, and make the polygons, if they are wanted."""
    if ranges:
        join_parts(segmenter, job.source, parts=sorted(ranges, key=lambda rows: rows.start), run=run, settings=settings,
                   **paths, **{key: value for key, value in options.items() if key != 'batch'})
    if 'polygons' in kinds:
        write_polygons(job.target, output_paths(job, kinds)['polygons'], segmenter.classes, settings)


def _message(job: Job, error: Exception) -> str:
    return str(error) if str(job.source) in str(error) else f'{job.source}: {error}'


def _gather(value: Any, processes: int) -> list[Any]:
    everywhere = [value] * processes
    if processes > 1:
        distributed.all_gather_object(everywhere, value)
    return everywhere


def _merged(failed: dict[Path, str], processes: int) -> dict[Path, str]:
    merged: dict[Path, str] = {}
    for found in _gather(failed, processes):
        merged = {**found, **merged}  # of a raster that is divided the first process's
    return merged
