"""Speed and memory of random crops: windows of a decoded raster against PNG tiles that are decoded each time."""
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from PIL import Image
from rasterio.windows import Window

from egmim_mm.datasets import RandomScaledCrop, RasterCrops
from egmim_mm.records.tables import print_table
from egmim_mm.storage.rasters import open_raster

from .timing import device_clock, interleaved, paired_ratio, peak_memory
from .toy_raster import TILE, write_raster

RASTER, PNG = 'RasterCrops, decoded', 'PNG tiles, mmcv'


def compare_loading(size: int = 10_000, crop: int = 224, crops: int = 2000, tiles: int = 32,
                    rotate: bool = False) -> dict[str, Any]:
    """Make a raster of synthetic scenes and PNG tiles of it, time crops of both in turn.

    Args:
        size: Side of the raster, px, at least 512.
        crop: Side of a crop, px; the scale is drawn from 0.67 to 1.5.
        crops: Crops of each kind.
        tiles: PNG tiles of 512 px.
        rotate: Turn the crops of the raster by any angle.

    Returns:
        ``rows``: name -> ``seconds_each``, ``crops_per_s``; ``ratio``: of speeds, median over crops with its 95 %
        interval; ``decode_seconds``; ``peak_memory_bytes`` of the process before and after.
    """
    if size < TILE:
        raise ValueError(f'a raster of {size} px is smaller than a tile of {TILE} px')
    name, clock = device_clock(torch.device('cpu'))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'raster.tif')
        write_raster(path, size)
        png = _png_step(_write_tiles(path, Path(folder, 'tiles'), tiles), crop)
        before = peak_memory()
        dataset = RasterCrops(folder, crop_size=crop, rotation=(0, 360) if rotate else (0, 0))
        start = clock()
        dataset[0]  # decodes the raster
        decoding = clock() - start
        seconds = interleaved({RASTER: lambda: dataset[0], PNG: png}, crops, warmup=10, clock=clock)
        after = peak_memory()
    rows = {kind: dict(seconds_each=each, crops_per_s=len(each) / sum(each)) for kind, each in seconds.items()}
    return dict(rows=rows, ratio=paired_ratio(seconds[PNG], seconds[RASTER]), decode_seconds=decoding,
                peak_memory_bytes=dict(before=before, after=after), size=size, crop=crop, crops=crops, tiles=tiles,
                rotate=rotate, clock=name)


def _write_tiles(path: Path, folder: Path, number: int) -> list[str]:
    folder.mkdir()
    rng, files = np.random.default_rng(1), []
    with open_raster(path) as source:
        for i in range(number):
            left, top = (int(rng.integers(side - TILE + 1)) for side in (source.width, source.height))
            tile = np.moveaxis(source.read(window=Window(left, top, TILE, TILE)), 0, -1)
            files.append(str(folder / f'{i}.png'))
            Image.fromarray(tile).save(files[-1])
    return files


def _png_step(files: list[str], crop: int) -> Callable[[], dict]:
    load, cut = LoadImageFromFile(), RandomScaledCrop(crop, scale_range=(0.67, 1.5))
    rng = np.random.default_rng(2)
    return lambda: cut.transform(load.transform(dict(img_path=files[rng.integers(len(files))])))


def print_loading(document: dict[str, Any]) -> None:
    """Print a line for each kind, the ratio and the memory."""
    cells = [(name, f'{row["crops_per_s"]:.0f}', f'{1000 / row["crops_per_s"]:.2f}')
             for name, row in document['rows'].items()]
    print_table(('crops', 'crops/s', 'ms'), (), cells, title=f'{document["crops"]} crops of {document["crop"]} px from '
                f'{document["size"]} x {document["size"]} px; {document["clock"]}')
    ratio, memory = document['ratio'], document['peak_memory_bytes']
    print(f'{ratio["median"]:.1f} times as fast ({ratio["low"]:.1f} to {ratio["high"]:.1f}); decoding the '
          f'raster once: {document["decode_seconds"]:.1f} s; peak memory {memory["after"] / 2**30:.2f} GiB, '
          f'{memory["before"] / 2**30:.2f} GiB of it before')
