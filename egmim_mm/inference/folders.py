"""Which raster becomes which file, and which process does it."""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets.band_scaling import open_raster
from ..datasets.image_files import find_images
from ..datasets.tile_reading import TileReadError
from .blending import Grid

__all__ = ['Job', 'plan_jobs', 'share']

_PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')  # their maps are PNG files


@dataclass(frozen=True)
class Job:
    """A raster, its map, and the number of windows it takes (0: it cannot be opened)."""

    source: Path
    target: Path
    windows: int = 0


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
    jobs = [Job(source, target, _count_windows(source, window, overlap)) for target, source in targets.items()]
    return sorted(jobs, key=lambda job: (-job.windows, os.fspath(job.target)))


def _count_windows(source: Path, window: int, overlap: float) -> int:
    try:
        with open_raster(str(source)) as raster:
            return len(Grid(raster.height, raster.width, window, overlap))
    except TileReadError:  # reported when it is its turn
        return 0


def share(jobs: Sequence[Job], processes: int) -> list[list[Job]]:
    """The jobs of each process: whole rasters, each given to the process with the fewest windows so far."""
    shares: list[list[Job]] = [[] for _ in range(processes)]
    for job in jobs:
        min(shares, key=lambda own: (sum(j.windows for j in own), len(own))).append(job)
    return shares
