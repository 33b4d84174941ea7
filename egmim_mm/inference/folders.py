"""Which raster becomes which file, and which process does which part of it."""
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path

from egmim_mm.storage.image_files import find_images
from egmim_mm.storage.tile_reading import TileReadError

from .map_job import MapJob, Part

__all__ = ['open_jobs', 'plan_jobs', 'share']

_PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')  # their maps are PNG files
_KEPT_OPEN = 100  # rasters that stay open from the plan on; a process may open about a thousand files


def plan_jobs(inputs: Sequence[str | Path], out: str | Path, extras: Sequence[str] = (), **options) -> list[MapJob]:
    """List the maps to make: named as the rasters, those of folders with their subfolders. No raster is opened.

    Args:
        inputs: Rasters, or folders of them.
        out: Folder of the maps; it is not searched for rasters.
        extras: Of :data:`~egmim_mm.inference.map_job.KINDS`.
        options: Of :class:`~egmim_mm.inference.map_job.MapJob`: ``model_bands``, ``window``, ``overlap`` and so on.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: No rasters, or two of them would have one map.
    """
    sources: dict[Path, Path] = {}  # of the maps
    for source, name in _rasters(inputs, Path(out)):
        target = Path(out) / name.with_suffix('.png' if name.suffix.lower() in _PICTURES else '.tif')
        if sources.setdefault(target, source) != source:
            raise ValueError(f'{sources[target]} and {source} would both become {target}; give them other names, '
                             'or each its own --out')
    if not sources:
        raise ValueError(f'no rasters in {", ".join(map(str, inputs))}')
    return [MapJob(source, target, extras=_extra_files(target, extras), **options)
            for target, source in sources.items()]


def _rasters(inputs: Sequence[str | Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Pairs of a raster and the name of its map, without the right ending."""
    for given in map(Path, inputs):
        if given.is_dir():
            for name in find_images(str(given)):
                if out.resolve() not in (given / name).resolve().parents:
                    yield given / name, Path(name)
        elif given.is_file():
            yield given, Path(given.name)
        else:
            raise FileNotFoundError(f'{given} does not exist')


def _extra_files(target: Path, kinds: Sequence[str]) -> dict[str, Path]:
    return {kind: target.with_name(f'{target.stem}.gpkg' if kind == 'polygons' else f'{target.stem}_{kind}.tif')
            for kind in kinds}


def open_jobs(jobs: Sequence[MapJob]) -> list[MapJob]:
    """The jobs with the windows of their rasters, the largest first; a raster is left open for its prediction."""
    for number, job in enumerate(jobs):
        with suppress(TileReadError):  # reported when it is its turn
            job.open()
        if number >= _KEPT_OPEN:
            job.close()
    return sorted(jobs, key=lambda job: (-job.windows, os.fspath(job.target)))


def share(jobs: Sequence[MapJob], processes: int) -> list[list[Part]]:
    """The parts of each process: the largest first, each given to the process with the fewest windows so far.

    A raster is whole where it can be. One with more windows than a process's fair share is divided by rows of windows.
    """
    fair = sum(job.windows for job in jobs) / processes
    parts = [part for job in jobs for part in _divide(job, ceil(job.windows / fair) if fair else 1)]
    shares: list[list[Part]] = [[] for _ in range(processes)]
    for part in sorted(parts, key=lambda part: -part.windows):
        min(shares, key=lambda own: (sum(p.windows for p in own), len(own))).append(part)
    return shares


def _divide(job: MapJob, number: int) -> list[Part]:
    """At most ``number`` parts that take the same time; all but the first compute the rows before them that overlap."""
    if number < 2:
        return [job.whole]
    grid, rows = job.grid, len(job.rows)
    lead = max(map(grid.lead, job.rows))
    computed = ceil((rows + (number - 1) * lead) / number)  # rows of windows in each part
    if computed <= lead:  # as many parts as have a row of their own
        computed = lead + 1
    starts = [0, *range(computed, rows, computed - lead)]
    return [Part(job, range(start, stop), (stop - start + grid.lead(start)) * len(grid.lefts))
            for start, stop in zip(starts, (*starts[1:], rows))]
