"""Speed and accuracy of our maps against MMSegmentation's slide inference: the same model, tiles and windows."""
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.datasets.plain_tiles import LabelledImages
from egmim_mm.evaluation.bootstrap import bootstrap_confusions
from egmim_mm.evaluation.confusion import confusion_matrix, segmentation_scores
from egmim_mm.inference import Segmenter
from egmim_mm.inference.blending import Grid
from egmim_mm.inference.segmenter import usual_batch
from egmim_mm.inference.stock_slide import slide_stride, slide_windows, stock_slide
from egmim_mm.inference.windows import check_window
from egmim_mm.records.provenance import device_description
from egmim_mm.records.tables import print_table
from egmim_mm.synthetic import CLASSES, make_scene

from .timing import device_clock, interleaved, paired_ratio

STOCK, OURS = 'mmseg slide inference', 'egmim_mm'
SCENE_SIZE = 512  # px
SCENES = (0, 1, 10_000)  # seed of the first scene: of the test split, behind all tiles that are written


class LabelledTile(NamedTuple):
    """An image (H, W, C) uint8 in the order of the files, and its classes (H, W) uint8, 255: not labelled."""

    image: np.ndarray
    mask: np.ndarray


class Way(NamedTuple):
    """A way to make a map: function from image to classes, and how many windows an image of a size takes."""

    classes: Callable[[np.ndarray], np.ndarray]
    windows: Callable[[int, int], int]


def synthetic_tiles(count: int, size: int, classes: Sequence[str]) -> list[LabelledTile]:
    """Mosaics of ``size`` px of synthetic scenes of 512 px, of which no data set of ``tools/make_scenes.py`` holds one.

    One large scene would not do: its largest class can cover nearly all of it.

    Raises:
        ValueError: The model has other classes than the scenes.
    """
    if tuple(classes) != tuple(CLASSES):
        raise ValueError(f'the model has the classes {", ".join(classes)}, the synthetic scenes {", ".join(CLASSES)}: '
                         "measure on the config's test data (--test-data)")
    side = min(size, SCENE_SIZE)
    across = -(-size // side)
    tiles = []
    for number in range(count):
        image, mask = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
        for cell in range(across**2):
            place = np.s_[cell // across * side:, cell % across * side:]
            scene = make_scene((*SCENES[:2], SCENES[2] + number * across**2 + cell), side)
            for whole, part in zip((image, mask), scene):
                height, width = (min(side, length) for length in whole[place].shape[:2])
                whole[place][:height, :width] = part[:height, :width]
        tiles.append(LabelledTile(image, mask))
    return tiles


def test_tiles(cfg: Config, count: int) -> Iterator[LabelledTile]:
    """The first ``count`` tiles of the test data of a config.

    Raises:
        ValueError: There is no test data.
        TileReadError: A tile cannot be read.
    """
    if not cfg.get('test_dataloader'):
        raise ValueError(f'{cfg.filename} has no test data')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        images = LabelledImages(cfg.test_dataloader.dataset)
    for image, mask in islice(images, count):
        yield LabelledTile(swap_rgb_bgr(image), mask)


def prediction_ways(segmenter: Segmenter, window: int, overlap: float, batch: int) -> dict[str, Way]:
    """MMSegmentation's slide inference, ours, and what lies between them: name -> how."""
    stride = slide_stride(window)

    def ours(share: float, at_once: int) -> Way:
        return Way(lambda image: segmenter(image, window, share, at_once),
                   lambda height, width: len(Grid(height, width, window, share)))

    ways = {STOCK: Way(stock_slide(segmenter, window, stride),
                       lambda height, width: slide_windows(height, width, window, stride)),
            OURS: ours(overlap, batch)}
    same = 1 - stride / window
    if overlap != same:
        ways[f"{OURS}, mmseg's overlap"] = ours(same, batch)
    if batch > 1:
        ways[f"{OURS}, mmseg's overlap, batch 1"] = ours(same, 1)
    return ways


def block_counts(maps: Sequence[np.ndarray], tiles: Sequence[LabelledTile], classes: int) -> np.ndarray:
    """Confusion matrices of squares of 512 px (less at the ends): (N, K, K)."""
    return np.stack([np.asarray(confusion_matrix(*(torch.from_numpy(np.ascontiguousarray(
        part[top:top + SCENE_SIZE, left:left + SCENE_SIZE])) for part in (predicted, tile.mask)), classes))
        for predicted, tile in zip(maps, tiles) for top in range(0, tile.mask.shape[0], SCENE_SIZE)
        for left in range(0, tile.mask.shape[1], SCENE_SIZE)])


def miou_gain(ours: np.ndarray, stock: np.ndarray, classes: Sequence[str], draws: int = 1000) -> dict[str, float]:
    """mIoU of ``ours`` minus that of ``stock``, per cent, with the 95 % interval of paired resamples of the squares."""

    def gain(pair: tuple[np.ndarray, np.ndarray]) -> float:
        return float(np.subtract(*(segmentation_scores(counts, classes)['mIoU'] for counts in pair)))

    # the same seed draws the same squares
    drawn = [gain(pair) for pair in zip(*(bootstrap_confusions(counts, draws, 0) for counts in (ours, stock)))]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return dict(value=gain((ours.sum(0), stock.sum(0))), low=float(low), high=float(high))


def compare_predictions(segmenter: Segmenter, tiles: Sequence[LabelledTile], window: int | None = None,
                        overlap: float = 0.25, batch: int | None = None, rounds: int = 5) -> dict[str, Any]:
    """Time the ways in turn.

    From an image in memory to its class map in memory: files are read and written by neither. The stride of
    MMSegmentation's crops is two thirds of the window.

    Args:
        segmenter: The model.
        tiles: Each is predicted once in a round.
        window: Side of the windows, px; the config's by default.
        overlap, batch: Of our way; by default the batch of :func:`usual_batch`.
        rounds: Timings of each way.

    Returns:
        ``rows``: name -> ``seconds`` (median of the rounds, all tiles), ``pixels_per_s``,
        ``windows``, ``seconds_per_window``, ``speedup`` (times as fast as MMSegmentation: median and 95 % interval),
        ``mIoU`` and ``OA`` (per cent), ``mIoU_gain`` (over MMSegmentation: value and 95 % interval under resampling of
        squares of 512 px), ``agreement`` (share of pixels with MMSegmentation's class).

    Raises:
        ValueError: Fewer than two rounds, no tiles, or options out of range.
    """
    window, batch = window or segmenter.window, usual_batch(segmenter.device) if batch is None else batch
    check_window(window, overlap)
    if rounds < 2 or batch < 1 or not tiles:
        raise ValueError(f'{rounds} rounds, batch {batch}, {len(tiles)} tiles: an interval needs at least 2 rounds, '
                         'and both others at least 1')
    ways = prediction_ways(segmenter, window, overlap, batch)
    maps: dict[str, list[np.ndarray]] = {}

    def step(name: str) -> None:
        maps[name] = [ways[name].classes(tile.image) for tile in tiles]

    for way in ways.values():  # the first windows allocate memory and choose kernels
        way.classes(tiles[0].image[:window, :window])
    clock_name, clock = device_clock(segmenter.device)
    seconds = interleaved({name: lambda name=name: step(name) for name in ways}, rounds, 0, clock)
    pixels = sum(tile.mask.size for tile in tiles)
    rows = {}
    counts = {name: block_counts(predicted, tiles, len(segmenter.classes)) for name, predicted in maps.items()}
    for name, way in ways.items():
        scores = segmentation_scores(counts[name].sum(0), segmenter.classes)
        median = float(np.median(seconds[name]))
        windows = sum(way.windows(*tile.mask.shape) for tile in tiles)
        rows[name] = dict(
            seconds=median, pixels_per_s=pixels / median, windows=windows, seconds_per_window=median / windows,
            speedup=paired_ratio(seconds[STOCK], seconds[name]), mIoU=scores['mIoU'], OA=scores['OA'],
            mIoU_gain=miou_gain(counts[name], counts[STOCK], segmenter.classes),
            agreement=float(np.mean([(a == b).mean() for a, b in zip(maps[name], maps[STOCK])])),
            seconds_each=seconds[name])
    return dict(
        benchmark='predict', weights_sha256=segmenter.weights_sha256, window=window, stride=slide_stride(window),
        overlap=overlap, batch=batch, rounds=rounds, sizes=[list(tile.mask.shape) for tile in tiles],
        classes=list(segmenter.classes), clock=clock_name, baseline=STOCK, rows=rows,
        device=device_description(segmenter.device))


def print_predictions(document: dict[str, Any]) -> None:
    """Print one line for each way."""
    device, sizes = document['device'], document['sizes']
    title = (f'{len(sizes)} tile(s) of {sizes[0][0]} x {sizes[0][1]} px, windows of {document["window"]} '
             f'px, {document["rounds"]} rounds, {device["type"]} {device["name"]}, {device["threads"]} CPU '
             f'thread(s); {document["clock"]}')
    heads = ('kpx/s', 'times as fast', '95 % interval', 'windows', 'ms/window', 'mIoU %', 'minus mmseg (95 %)', 'OA %',
             'same class %')
    cells = []
    for name, row in document['rows'].items():
        ratio, gain = row['speedup'], row['mIoU_gain']
        cells.append((name, f'{row["pixels_per_s"] / 1000:.0f}', f'{ratio["median"]:.2f}',
                      f'{ratio["low"]:.2f} - {ratio["high"]:.2f}', row['windows'],
                      f'{1000 * row["seconds_per_window"]:.0f}', f'{row["mIoU"]:.2f}',
                      f'{gain["value"]:+.2f} ({gain["low"]:+.2f} to {gain["high"]:+.2f})', f'{row["OA"]:.2f}',
                      f'{100 * row["agreement"]:.2f}'))
    print_table(('way', ), heads, cells, title=title)
