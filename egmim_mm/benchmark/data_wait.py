"""Share of a training's time in which it waits for data, with small crops of large tiles: ours and stock loaders."""
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from egmim_mm.synthetic import CLASSES

from .predict import synthetic_tiles
from .rows import Row, paired_row
from .training import measure as measure_training
from .training_configs import TOY_ARCH

__all__ = ['measure', 'wait_rows']

TILES, CROP = (512, 1024), 128  # px
PHASES = dict(pretrain=('egmim_swin-nano.py', 16, 'MMPretrain'), finetune=('upernet_swin-nano.py', 8, 'MMSegmentation'))
NOTE = ('share of the time of training in which its process waits for its loader, PNG tiles, nano model: decoded tiles '
        "as our configs have them, filled, against the stock toolchain's loader, which decodes a tile for each crop. "
        'Loader and training share the cores of a CPU')


def measure(argument: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as dicts, with ``workers``, for a child process."""
    return [asdict(row) for row in wait_rows(argument['workers'])]


def wait_rows(workers: int, rounds: int = 2, steps: int = 12, tiles: tuple[int, ...] = TILES,
              toy: bool = False) -> list[Row]:
    """Run short trainings of ours and of the stock toolchain in turn: a row for each phase and size of tile.

    Args:
        workers: Of a loader; ours are no more than there are cores.
        rounds: Runs of each.
        steps: Timed steps of a run.
        tiles: Sides of the tiles, px.
        toy: A tiny model on tiles of 128 px, once.
    """
    if toy:
        rounds, steps, tiles = 1, 2, (128, )
    rows = []
    for tile in tiles:
        with tempfile.TemporaryDirectory() as folder:
            _write_tiles(Path(folder), tile)
            for phase, (model, batch, stock) in PHASES.items():
                crop = 64 if toy else CROP
                job = dict(phase=phase, model=model, size=crop, batch=2 if toy else batch, workers=workers,
                           tiles=folder, tile=tile, images=str(Path(folder, 'img_dir/train')), options={},
                           warmup=2, timed=steps, alone=1, count=False,
                           backbone=dict(arch=TOY_ARCH, window_size=2) if toy else {})
                waits: dict[bool, list[float]] = {False: [], True: []}
                for number in range(rounds):
                    for is_stock in (False, True)[::-1 if number % 2 else 1]:
                        waits[is_stock].append(100 * measure_training(dict(job, stock=is_stock))['data_wait'])
                rows.append(paired_row(f'waiting for data, {phase}, {crop}-px crops of {tile}-px tiles, batch '
                                       f'{job["batch"]}', f'{workers} loader processes', stock, '%', waits[False],
                                       waits[True], better='less', note=NOTE))
    return rows


def _write_tiles(folder: Path, size: int, number: int = 4) -> None:
    parts = dict(image=folder / 'img_dir/train', mask=folder / 'ann_dir/train')
    for part in parts.values():
        part.mkdir(parents=True)
    for index, tile in enumerate(synthetic_tiles(number, size, CLASSES)):
        for name, part in parts.items():
            Image.fromarray(getattr(tile, name)).save(part / f'{index}.png')
