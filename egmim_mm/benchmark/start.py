"""How long a pretraining data set takes to start on a corpus of a million images, and what its list weighs."""
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image
from rich.progress import track

from egmim_mm.datasets import UnlabeledTiles
from egmim_mm.records.tables import print_table

from .timing import peak_memory

__all__ = ['measure_starts', 'print_starts']

GROUP = 1000  # images of a folder and of a shard


def measure_starts(files: int = 1_000_000, shards: int = 100, folder: str | None = None) -> dict[str, Any]:
    """Make a corpus of tiny images in folders of 1000 and one in shards of 1000, start on each.

    The first start lists, the second one reads what the first has kept; both look at the first 5000 headers. The kept
    lists go to a temporary home. The pages of the corpus are in memory, having just been written: a disk or a network
    share adds its own time to the first start.

    Args:
        files: Images in folders, a multiple of 1000.
        shards: Archives; each image comes with a .json file.
        folder: Where the temporary corpus is made.

    Returns:
        ``rows``: for each start ``name``, ``images``, ``wall_seconds``, ``cpu_seconds``, ``list_bytes`` (of the data
        set, as a loader process gets it) and ``peak_bytes`` (largest memory of the process so far); ``peak_before``.

    Raises:
        ValueError: A number of files that is no multiple of 1000, or no shard.
    """
    if files < GROUP or files % GROUP or shards < 1:
        raise ValueError(f'--files {files} must be a multiple of {GROUP}, --shards {shards} at least 1')
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as root, mock.patch.dict(os.environ, HOME=f'{root}/home'):
        images, archives = Path(root, 'images'), Path(root, 'shards')
        names = _write_files(images, files)
        Path(root, 'list.txt').write_text('\n'.join(names) + '\n', encoding='utf-8')
        del names
        _write_shards(archives, shards)
        time.sleep(2.5)  # a folder that has just changed is not kept
        before = peak_memory()
        for name, make in (('folder', lambda: UnlabeledTiles(images)),
                           ('list file', lambda: UnlabeledTiles(images, list_file=f'{root}/list.txt')),
                           ('shards', lambda: UnlabeledTiles(archives, shards='.'))):
            rows += [_time(f'{name}, {which}', make) for which in ('first', 'second')]
    return dict(rows=rows, peak_before=before, headers=5000)


def _time(name: str, make: Callable[[], UnlabeledTiles]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    dataset = make()
    row = dict(name=name, images=len(dataset), wall_seconds=time.perf_counter() - wall,
               cpu_seconds=time.process_time() - cpu)
    return dict(row, list_bytes=dataset.data_list.nbytes, peak_bytes=peak_memory())


def _image() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, 'PNG')
    return buffer.getvalue()


def _write_files(root: Path, number: int) -> list[str]:
    names = []
    for group in track(range(number // GROUP), 'files', transient=True):
        folder = root / f'area_{group:05d}'
        folder.mkdir(parents=True)
        first = folder / 'tile_0000.png'
        first.write_bytes(_image())
        for i in range(1, GROUP):  # hard links: names without a million inodes
            os.link(first, folder / f'tile_{i:04d}.png')
        names += [f'area_{group:05d}/tile_{i:04d}.png' for i in range(GROUP)]
    return names


def _write_shards(root: Path, number: int) -> None:
    root.mkdir()
    image = _image()
    for shard in track(range(number), 'shards', transient=True):
        with tarfile.open(root / f'corpus-{shard:06d}.tar', 'w') as archive:
            for i in range(GROUP):
                for suffix, content in (('png', image), ('json', json.dumps(dict(number=i)).encode())):
                    member = tarfile.TarInfo(f'area_{shard:05d}/tile_{i:04d}.{suffix}')
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def print_starts(document: dict[str, Any]) -> None:
    """Print a line for each start."""
    cells = [(row['name'], f'{row["images"]:,}', f'{row["wall_seconds"]:.2f}', f'{row["cpu_seconds"]:.2f}',
              f'{row["list_bytes"] / 2**20:.0f}', f'{row["peak_bytes"] / 2**20:.0f}') for row in document['rows']]
    print_table(('start', 'images', 'wall s', 'CPU s', 'list MiB', 'peak memory MiB'), (), cells)
    print(f'peak memory before: {document["peak_before"] / 2**20:.0f} MiB')
