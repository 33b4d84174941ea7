"""Whether window borders show in a map: how often the class changes across them, compared with elsewhere."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egmim_mm.inference import Segmenter
from egmim_mm.inference.stock_slide import slide_starts, slide_stride, stock_slide
from egmim_mm.inference.windows import check_window, window_starts
from egmim_mm.pictures.sheets import colorize
from egmim_mm.records import whole_file
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table
from egmim_mm.storage.band_scaling import BandScaling
from egmim_mm.storage.raster_rows import RasterRows

HARD, STOCK, OURS = 'hard cut', 'mmseg slide inference', 'egmim_mm'
DRAWS, DPI = 2000, 100


def window_borders(starts: Sequence[int], window: int, size: int) -> list[int]:
    """Where windows begin or end inside an axis of ``size`` px: b is the border between the pixels b - 1 and b."""
    return sorted({at for start in starts for at in (start, start + window) if 0 < at < size})


def change_counts(classes: np.ndarray, valid: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring pixels with different classes, and neighbouring pixels with data, across each line.

    Args:
        classes: (H, W) integer.
        valid: (H, W) bool, where there is data.
        axis: 0: lines between rows; 1: between columns.

    Returns:
        Two (n - 1, ) int64 arrays of an axis of n px; entry b - 1 is the line between the pixels b - 1 and b.
    """
    classes, valid = (np.moveaxis(array, axis, 0) for array in (classes, valid))
    both = valid[1:] & valid[:-1]
    return ((classes[1:] != classes[:-1]) & both).sum(1), both.sum(1)


def seam_ratio(classes: np.ndarray, valid: np.ndarray, rows: Sequence[int], columns: Sequence[int],
               seed: int = 0) -> dict[str, float]:
    """Class-change rate across window borders divided by that across all other lines; 1 means that no seam shows.

    Args:
        classes, valid: See :func:`change_counts`.
        rows, columns: Window borders along the two axes, at least one in all.
        seed: Of the random lines.

    Returns:
        ``border`` and ``elsewhere`` (shares of neighbours with different classes), ``ratio``, and ``low`` and ``high``:
        between which 95 % of the ratios lie of as many lines drawn at random among those that are no borders. A ratio
        within them is that of no seam.

    Raises:
        ValueError: No border, or nothing but borders.
    """
    changes, pairs, border = [], [], []
    for axis, at in ((0, rows), (1, columns)):
        for counts, of_axis in zip((changes, pairs), change_counts(classes, valid, axis)):
            counts.append(of_axis)
        border.append(np.isin(np.arange(1, classes.shape[axis]), list(at)))
    changes, pairs, border = (np.concatenate(arrays) for arrays in (changes, pairs, border))
    if not border.any() or border.all():
        raise ValueError('the map has no window border, or nothing else: take an image of several windows')

    def ratio(lines: np.ndarray) -> tuple[float, float]:
        others = (changes.sum() - changes[lines].sum()) / (pairs.sum() - pairs[lines].sum())
        return changes[lines].sum() / pairs[lines].sum(), others

    at, elsewhere = ratio(np.flatnonzero(border))
    rng, free = np.random.default_rng(seed), np.flatnonzero(~border)
    drawn = [np.divide(*ratio(rng.choice(free, border.sum(), replace=False))) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return dict(border=float(at), elsewhere=float(elsewhere), ratio=float(at / elsewhere), low=float(low),
                high=float(high))


def report_seams(segmenter: Segmenter, source: str | Path, out_dir: str | Path, window: int | None = None,
                 overlap: float = 0.25, bands: Sequence[int] | None = None, scaling: BandScaling | None = None,
                 picture_size: int = 256) -> dict[str, dict[str, float]]:
    """Map an image with windows cut hard, with MMSegmentation's slide inference and with ours; compare their seams.

    Args:
        segmenter: The model.
        source: A raster that fits into memory, of several windows.
        out_dir: Folder of ``seams.json`` and ``seams.png``.
        window: Side of the windows, px; the config's by default.
        overlap: Of our windows.
        bands, scaling: See :func:`~egmim_mm.inference.predict_raster`.
        picture_size: Side of the part in the picture, px.

    Returns:
        Name -> see :func:`seam_ratio`.

    Raises:
        TileReadError: The raster cannot be read, or does not fit the model.
        ValueError: Options out of range, or an image of one window.
    """
    window = window or segmenter.window
    check_window(window, overlap)
    with RasterRows(str(source), segmenter.bands, bands, scaling) as raster:
        image, valid = raster(0, raster.height)
    if max(image.shape[:2]) <= window:
        raise ValueError(f'{source}: {image.shape[0]} x {image.shape[1]} px are one window of {window} px, which has '
                         'no border; take a larger raster or a smaller --window')
    stride = slide_stride(window)
    ways = {HARD: (lambda: segmenter(image, window, 0, 1), lambda size: window_starts(size, window, 0)),
            STOCK: (lambda: stock_slide(segmenter, window, stride)(image),
                    lambda size: slide_starts(size, window, stride)),
            OURS: (lambda: segmenter(image, window, overlap, 1), lambda size: window_starts(size, window, overlap))}
    maps, borders, rows = {}, {}, {}
    for name, (predict, starts) in ways.items():
        maps[name] = predict()
        borders[name] = [window_borders(starts(size), window, size) for size in image.shape[:2]]
        rows[name] = seam_ratio(maps[name], valid, *borders[name])
    write_json(Path(out_dir, 'seams.json'), dict(
        rows=rows, window=window, stride=stride, overlap=overlap, raster=str(source), size=list(image.shape[:2]),
        borders=borders, weights_sha256=segmenter.weights_sha256, versions=package_versions(), git=git_state()))
    plot_seams(image, maps, borders, segmenter.palette, Path(out_dir, 'seams.png'), picture_size)
    return rows


def print_seams(rows: dict[str, dict[str, float]]) -> None:
    """Print a line for each way."""
    cells = [(name, f'{100 * row["border"]:.2f}', f'{100 * row["elsewhere"]:.2f}', f'{row["ratio"]:.2f}',
              f'{row["low"]:.2f} and {row["high"]:.2f}') for name, row in rows.items()]
    print_table(('windows', ), ('at borders %', 'elsewhere %', 'ratio', 'without seams'), cells,
                title='share of neighbouring pixels with different classes')


def _worst_part(classes: np.ndarray, rows: Sequence[int], columns: Sequence[int], size: int) -> tuple[int, int]:
    """Top and left of the square with most changes of class on the lines; in steps of 32 px."""
    marks = np.zeros(classes.shape, np.int64)
    marks[list(rows)] += classes[list(rows)] != classes[[row - 1 for row in rows]]
    marks[:, list(columns)] += classes[:, list(columns)] != classes[:, [column - 1 for column in columns]]
    sums = np.pad(marks.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (min(size, side) for side in classes.shape)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    boxes = boxes[::32, ::32]
    return tuple(32 * int(at) for at in np.unravel_index(boxes.argmax(), boxes.shape))


def plot_seams(image: np.ndarray, maps: dict[str, np.ndarray], borders: dict[str, list[list[int]]], palette: np.ndarray,
               path: Path, size: int) -> None:
    """A part of ``size`` px of the image and of the maps; ticks outside the frames say where window borders are.

    It is the part in which most changes of class lie on the borders of windows that are cut hard.
    """
    top, left = _worst_part(maps[HARD], *borders[HARD], size)
    part = np.s_[top:top + size, left:left + size]
    figure = Figure((3.1 * (1 + len(maps)), 3.4), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    colors = [tuple(map(int, color)) for color in palette]
    shown = image[..., :3] if image.shape[2] >= 3 else image[..., :1].repeat(3, 2)
    panels = {'image': (shown, [[], []]), **{name: (colorize(classes, colors), borders[name])
                                            for name, classes in maps.items()}}
    for axes, (name, (pixels, (rows, columns))) in zip(figure.subplots(1, len(panels)), panels.items()):
        cut = pixels[part]
        axes.imshow(cut, interpolation='nearest')
        axes.set_title(name, fontsize=11, pad=10)
        axes.set_xticks([b - left - 0.5 for b in columns if left < b < left + cut.shape[1]], [])
        axes.set_yticks([b - top - 0.5 for b in rows if top < b < top + cut.shape[0]], [])
        axes.tick_params(length=7, width=1.2, top=True, right=True)
    with whole_file(path) as draft:
        figure.savefig(draft)
