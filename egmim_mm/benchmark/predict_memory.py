"""Peak memory of a prediction: a small and a large raster, each mapped in a fresh process with a toy model."""
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from egmim_mm.inference import Segmenter, predict_raster
from egmim_mm.records.tables import print_table
from egmim_mm.registry import MODELS

from .timing import peak_memory
from .toy_raster import write_raster

CLASSES = ('a', 'b', 'c', 'd')
# A few thousand weights: what is measured is the prediction, not the model
TOY = dict(
    default_scope='mmseg',
    model=dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True),
        backbone=dict(type='egmim_mm.MaskedSwinTransformer', img_size=128, window_size=4, out_indices=(0, ),
                      arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 1, 1, 1])),
        decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_convs=0, concat_input=False, num_classes=4,
                         align_corners=False, norm_cfg=dict(type='SyncBN')),
        train_cfg=dict(), test_cfg=dict(mode='whole')),
    test_dataloader=dict(dataset=dict(type='egmim_mm.SegmentationTiles', metainfo=dict(classes=CLASSES))))


def compare_memory(sizes: Sequence[int] = (2000, 10_000), window: int = 512, overlap: float = 0.25) -> dict[str, Any]:
    """Map square rasters of synthetic scenes on the CPU, with one thread.

    Args:
        sizes: Sides of the rasters, px, at least 512; the first is what the others are compared with.
        window, overlap: Of the windows.

    Returns:
        ``rows``: one for each size with ``size``, ``peak_memory_bytes`` of the process, ``before_bytes`` of it before
        the raster is opened, and ``ratio`` to the first.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, raster = Path(folder, 'toy.pth'), Path(folder, 'raster.tif')
        with DefaultScope.overwrite_default_scope('mmseg'):
            torch.save(dict(state_dict=MODELS.build(Config(TOY).model).state_dict()), checkpoint)
        for size in sizes:
            write_raster(raster, size)
            with ProcessPoolExecutor(1, get_context('spawn')) as fresh:
                before, after = fresh.submit(_measure, str(checkpoint), str(raster), window, overlap).result()
            rows.append(dict(size=size, before_bytes=before, peak_memory_bytes=after,
                             ratio=after / (rows[0]['peak_memory_bytes'] if rows else after)))
    return dict(rows=rows, window=window, overlap=overlap)


def _measure(checkpoint: str, raster: str, window: int, overlap: float) -> tuple[int, int]:
    torch.set_num_threads(1)
    segmenter = Segmenter(Config(TOY), checkpoint, 'cpu')
    before = peak_memory()
    predict_raster(segmenter, raster, Path(raster).with_name('map.tif'), window, overlap, 1)
    return before, peak_memory()


def print_memory(document: dict[str, Any]) -> None:
    """Print a line for each size."""
    cells = [(f'{row["size"]} x {row["size"]} px', f'{row["peak_memory_bytes"] / 1e6:.0f}',
              f'{row["before_bytes"] / 1e6:.0f}', f'{row["ratio"]:.2f}') for row in document['rows']]
    print_table(('raster', ), ('MB', 'before the raster is opened, MB', 'x the first'), cells,
                title=f'peak memory of the process; windows of {document["window"]} px')
