"""How strong the edges of a folder's imagery are, and the floor of the edge prior that follows."""
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.progress import track

from egmim_mm.colors import PLOT_BARS, PLOT_MARK
from egmim_mm.datasets import UnlabeledTiles
from egmim_mm.edges import floor_of, top_responses
from egmim_mm.edges.operators import TINY
from egmim_mm.readout.cells import window_batches
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.storage.tile_reading import read_image

from .edge_quality import parse_operator, to_batch

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 99)


def folder_responses(folder: str, operator: str = 'gaussian_sobel', crop: int = 224, limit: int = 1000,
                  include: str | None = None) -> tuple[np.ndarray, int]:
    """q99 of the edge response, before normalisation, of each window of a folder's images.

    Windows of the size of a training crop at native scale, because the prior is normalised within a crop: a whole
    image nearly always has strong edges somewhere, its flat parts do not.

    Args:
        folder: Searched with all folders below it.
        operator: As :func:`~egmim_mm.analysis.edge_quality.parse_operator` takes it; a floor has no effect.
        crop: Side of the windows in px.
        limit: Most images, spread evenly over the sorted list.
        include: As of :class:`~egmim_mm.datasets.UnlabeledTiles`: leaves out what is no imagery, such as masks.

    Returns:
        (N,) values in luminance per px, and the number of images.

    Raises:
        ValueError: ``crop`` or ``limit`` below 1, or an unknown operator.
        FileNotFoundError: No such folder, or no image in it that matches ``include``.
        TileReadError: An image that cannot be read.
    """
    if crop < 1 or limit < 1:
        raise ValueError(f'crop = {crop} and limit = {limit} must be 1 or more')
    options = parse_operator(operator)
    options.pop('floor')
    tiles = UnlabeledTiles(folder, include=include, check_first=0)
    chosen = np.unique(np.linspace(0, len(tiles) - 1, min(limit, len(tiles))).astype(int))
    values = []
    for index in track(chosen.tolist(), 'Images', transient=True):
        image = to_batch(read_image(tiles.get_data_info(index)['img_path']))
        values += [top_responses(batch, **options) for batch in window_batches(image, crop)]
    return torch.cat(values).numpy(), len(chosen)


def measure_floor(folder: str, operator: str = 'gaussian_sobel', percentile: float = 5.0, crop: int = 224,
                  limit: int = 1000, out_dir: str = 'work_dirs/edge_floor', include: str | None = None) -> dict:
    """Recommend a floor: windows flatter than all but ``percentile`` % of a folder's are not amplified.

    Windows without any structure (no-data areas) do not count. Writes ``edge_floor.json`` and ``edge_floor.png``.

    Args:
        folder, operator, crop, limit, include: See :func:`folder_responses`.
        percentile: In [0, 100].
        out_dir: Folder of the two files.

    Returns:
        The content of the file: ``floor``, ``percentiles``, numbers of ``images``, ``windows`` and ``flat`` windows.

    Raises:
        ValueError: As :func:`folder_responses`; ``percentile`` out of range; every window is flat.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f'percentile = {percentile} must lie in [0, 100]')
    values, images = folder_responses(folder, operator, crop, limit, include)
    counted = values[values >= TINY].astype(np.float64)
    if not len(counted):
        raise ValueError(f'none of the {len(values)} windows of {folder} has any structure: are the images constant?')
    floor = floor_of(torch.from_numpy(values), percentile)
    report = dict(
        floor=floor, percentile=percentile, operator=parse_operator(operator), unit='luminance per px',
        percentiles={p: float(np.percentile(counted, p)) for p in PERCENTILES},
        images=images, windows=len(values), flat=len(values) - len(counted), crop=crop, folder=str(folder),
        include=include, versions=package_versions(), git=git_state())
    write_json(Path(out_dir) / 'edge_floor.json', report)
    plot_floor(counted, floor, percentile, Path(out_dir) / 'edge_floor.png')
    return report


def plot_floor(values: np.ndarray, floor: float, percentile: float, path: Path) -> None:
    """Histogram of the windows' q99 on a logarithmic axis, with the floor as a line."""
    figure = Figure((6, 3.4), dpi=120, layout='constrained')
    axes = figure.add_subplot()
    low, high = values.min(), max(values.max(), values.min() * 1.01)
    axes.hist(values, bins=np.geomspace(low, high, 50), color=PLOT_BARS)
    axes.axvline(floor, color=PLOT_MARK)
    axes.annotate(f' floor {floor:.4f}\n ({percentile:g} % below)', (floor, 1), xycoords=('data', 'axes fraction'),
                  va='top', color=PLOT_MARK)
    axes.set(xscale='log', xlabel='q99 of the edge response of a window, luminance per px', ylabel='windows')
    axes.spines[['top', 'right']].set_visible(False)
    FigureCanvasAgg(figure).print_png(str(path))


def config_line(report: dict) -> str:
    """What to add to a pretraining command: ``model.edge_prior.KEY=VALUE ...``."""
    settings = dict(report['operator'], floor=float(f'{report["floor"]:.3g}'))
    return ' '.join(f'model.edge_prior.{key}={value}' for key, value in settings.items())


def print_floor(report: dict) -> None:
    """Print the distribution and the recommendation."""
    print(f'{report["images"]} images, {report["windows"]} windows of {report["crop"]} px'
          + (f', {report["flat"]} of them without any structure (left out)' if report['flat'] else ''))
    print('q99 of the edge response, luminance per px:')
    print('  ' + '  '.join(f'{p} %: {value:.4f}' for p, value in report['percentiles'].items()))
    print(f'floor {report["floor"]:.4f}: the flattest {report["percentile"]:g} % are not amplified to full strength. '
          f'To use it:\n  --cfg-options {config_line(report)}')
