"""Which raster becomes which file, and which process does which part of it."""
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from egmim_mm.storage.band_scaling import open_raster
from egmim_mm.storage.image_files import find_images
from egmim_mm.storage.tile_reading import TileReadError

from .blending import Grid

__all__ = ['Job', 'Part', 'plan_jobs', 'share']

_PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')  # their maps are PNG files


@dataclass(frozen=True)
class Job:
    """A raster, its map, and the windows it takes (None: it cannot be opened)."""

    source: Path
    target: Path
    grid: Grid | None = None

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.grid) if self.grid else 0


@dataclass(frozen=True)
class Part:
    """What one process does of a raster: rows of windows (None: all), and how many windows it computes for them."""

    job: Job
    rows: range | None
    windows: int


def plan_jobs(inputs: Sequence[str], out: str | Path, window: int, overlap: float) -> list[Job]:
    """List the maps to make, the largest first: named as the rasters, those of folders with their subfolders.

    Args:
        inputs: Rasters, or folders of them.
        out: Folder of the maps; it is not searched for rasters.
        window, overlap: See :class:`~egmim_mm.inference.blending.Grid`.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: No rasters, or two of them would have one map.
    """
    out, targets = Path(out), {}
    for given in map(Path, inputs):
        if given.is_dir():
            found = [(given / name, Path(name)) for name in find_images(str(given))]
            found = [(source, name) for source, name in found if out.resolve() not in source.resolve().parents]
        elif given.is_file():
            found = [(given, Path(given.name))]
        else:
            raise FileNotFoundError(f'{given} does not exist')
        for source, name in found:
            target = out / name.with_suffix('.png' if name.suffix.lower() in _PICTURES else '.tif')
            if targets.setdefault(target, source) != source:
                raise ValueError(f'{targets[target]} and {source} would both become {target}; give them other names, '
                                 'or each its own --out')
    if not targets:
        raise ValueError(f'no rasters in {", ".join(map(str, inputs))}')
    jobs = [Job(source, target, _grid(source, window, overlap)) for target, source in targets.items()]
    return sorted(jobs, key=lambda job: (-job.windows, os.fspath(job.target)))


def _grid(source: Path, window: int, overlap: float) -> Grid | None:
    try:
        with open_raster(str(source)) as raster:
            return Grid(raster.height, raster.width, window, overlap)
    except TileReadError:  # reported when it is its turn
        return None


def share(jobs: Sequence[Job], processes: int) -> list[list[Part]]:
    """The parts of each process: the largest first, each given to the process with the fewest windows so far.

    A raster is whole where it can be. One with more windows than a process's fair share is divided by rows of windows.
    """
    fair = sum(job.windows for job in jobs) / processes
    parts = [part for job in jobs for part in _divide(job, ceil(job.windows / fair) if fair else 1)]
    shares: list[list[Part]] = [[] for _ in range(processes)]
    for part in sorted(parts, key=lambda part: -part.windows):
        min(shares, key=lambda own: (sum(p.windows for p in own), len(own))).append(part)
    return shares


def _divide(job: Job, number: int) -> list[Part]:
    """At most ``number`` parts that take the same time; all but the first compute the rows before them that overlap."""
    if number < 2:
        return [Part(job, None, job.windows)]
    grid, rows = job.grid, len(job.grid.tops)
    lead = max(map(grid.lead, range(rows)))
    computed = ceil((rows + (number - 1) * lead) / number)  # rows of windows in each part
    if computed <= lead:  # as many parts as have a row of their own
        computed = lead + 1
    starts = [0, *range(computed, rows, computed - lead)]
    if len(starts) == 1:
        return [Part(job, None, job.windows)]
    return [Part(job, range(start, stop), (stop - start + grid.lead(start)) * len(grid.lefts))
            for start, stop in zip(starts, (*starts[1:], rows))]
