"""A raster on its way to its maps: what is carried from the plan through the parts to the polygons."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egmim_mm.storage.band_scaling import BandScaling
from egmim_mm.storage.raster_rows import RasterRows
from egmim_mm.storage.tile_reading import TileReadError

from .blending import Grid
from .polygons import read_polygon_settings
from .raster_map import place_of, read_settings

__all__ = ['KINDS', 'MapJob', 'Part', 'check_outputs']

KINDS = ('probabilities', 'confidence', 'polygons')  # what can be made besides the map


@dataclass(eq=False)
class MapJob:
    """A raster, the windows it is read in, and the files that are made of it.

    ``grid`` (its windows) and ``place`` are there once it has been opened.

    Args:
        source: The raster.
        target: The map.
        model_bands: Bands the model takes.
        window, overlap: See :class:`~egmim_mm.inference.blending.Grid`.
        bands, scaling, nodata: See :class:`~egmim_mm.storage.raster_rows.RasterRows`.
        settings: Text kept in the files.
        extras: Of :data:`KINDS`: what is made besides the map -> file.
        only_polygons: The rasters are there; the polygons are made of them.
    """

    source: Path
    target: Path
    model_bands: int
    window: int
    overlap: float
    bands: Sequence[int] | None = None
    scaling: BandScaling | None = None
    nodata: float | str | None = None
    settings: str = ''
    extras: dict[str, Path] = field(default_factory=dict)
    only_polygons: bool = False
    grid: Grid | None = field(default=None, init=False)
    place: dict[str, Any] | None = field(default=None, init=False)
    _raster: RasterRows | None = field(default=None, init=False, repr=False)
    _problem: TileReadError | None = field(default=None, init=False, repr=False)

    def open(self) -> RasterRows:
        """The raster, opened by the first call, and again only after :meth:`close`.

        Raises:
            TileReadError: It cannot be opened, or does not fit the model: at every call, after one attempt.
        """
        if self._problem is not None:
            raise self._problem
        if self._raster is None:
            try:
                self._raster = RasterRows(str(self.source), self.model_bands, self.bands, self.scaling, self.nodata)
            except TileReadError as error:
                self._problem = error
                raise
            self.place = place_of(self._raster.source)
            self.grid = Grid(self._raster.height, self._raster.width, self.window, self.overlap)
        return self._raster

    def close(self) -> None:
        """Close the raster, if it is open."""
        if self._raster is not None:
            self._raster.close()
            self._raster = None

    @property
    def windows(self) -> int:
        """Number of windows; 0 of a raster that cannot be opened."""
        return len(self.grid) if self.grid else 0

    @property
    def rows(self) -> range:
        """All rows of windows."""
        return range(len(self.grid.tops) if self.grid else 0)

    @property
    def whole(self) -> 'Part':
        """All rows, as one part."""
        return Part(self, self.rows, self.windows)

    @property
    def rasters(self) -> dict[str, Path]:
        """The rasters that are made, the map (``classes``) first: kind -> file."""
        return {'classes': self.target, **{kind: path for kind, path in self.extras.items() if kind != 'polygons'}}

    @property
    def outputs(self) -> list[Path]:
        """All files that are made, the map first."""
        return [self.target, *self.extras.values()]

    def is_current(self, path: Path) -> bool:
        """Whether one of the outputs is there, and was made with the job's settings."""
        return (read_polygon_settings if path.suffix == '.gpkg' else read_settings)(path) == self.settings


@dataclass(frozen=True)
class Part:
    """What one process does of a raster: rows of windows, and how many windows it computes for them."""

    job: MapJob
    rows: range
    windows: int

    @property
    def is_whole(self) -> bool:
        """Whether it is the job's only part."""
        return self.rows == self.job.rows

    @property
    def height(self) -> int:
        """Rows of pixels that are finished."""
        ends = [*self.job.grid.tops, self.job.grid.image_height]
        return ends[self.rows.stop] - ends[self.rows.start]

    def rasters(self, run: str) -> dict[str, Path]:
        """Where its rows are written: the job's rasters, or hidden files beside them, ``run`` in their names."""
        if self.is_whole:
            return self.job.rasters
        return {kind: path.with_name(f'.{path.name}.{run}.{self.rows.start}.part')
                for kind, path in self.job.rasters.items()}


def check_outputs(jobs: Sequence[MapJob]) -> None:
    """Raise a ValueError if two rasters would be written to one file, or one to itself."""
    writers: dict[Path, Path] = {}
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        for path in job.outputs:
            if path.resolve() in sources:
                raise ValueError(f'{path} would be overwritten by a map; write the maps elsewhere')
            if (other := writers.setdefault(path, job.source)) != job.source:
                raise ValueError(f'{other} and {job.source} would both be written to {path}; give them other names, or '
                                 'each its own --out')
