#!/usr/bin/env python
"""Draw the pictures of README.md and docs/egmim.md from a finished quickstart (make quickstart):

    python docs/make_figures.py

Writes docs/images/{quickstart,egmim_masks,egmim_reconstruction}.jpg, each below 300 KB.
"""
import argparse
from pathlib import Path

from egmim_mm.environment import quiet_imports

quiet_imports()

import numpy as np  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from PIL import Image  # noqa: E402

from egmim_mm.datasets.plain_tiles import file_tiles  # noqa: E402
from egmim_mm.masking import POLICIES, UNIFORM_POLICIES  # noqa: E402
from egmim_mm.pictures import draw_sheet  # noqa: E402
from egmim_mm.pictures.pretraining import as_rows, load_model, mask_rows, reconstruction_panels  # noqa: E402
from egmim_mm.study.quickstart import DAPT, ROOT, draw_run  # noqa: E402

FOLDER = Path(__file__).with_name('images')
WIDTH = 224  # of a column, px: four or five fill a page without being made smaller


def draw_masks(model, tiles: list) -> np.ndarray:
    """Image, edge prior and one mask of every policy of one ratio, in two blocks of four columns."""
    policies = [policy for policy in POLICIES if policy not in UNIFORM_POLICIES]  # these have a ratio of their own
    titles, rows = mask_rows(model, tiles, policies, seeds=[0], progress=[1.0])
    titles = [title.replace('\nprogress 1, seed 0', '') for title in titles]
    return np.concatenate([draw_sheet([row[half] for row in rows], titles[half], width=WIDTH)
                           for half in (slice(4), slice(4, 8))])


def draw_reconstructions(model, tiles: list) -> np.ndarray:
    titles, rows = as_rows(reconstruction_panels(model, tile, seed) for seed, tile in enumerate(tiles))
    return draw_sheet(rows, titles, width=WIDTH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--run', type=Path, default=Path('work_dirs/quickstart/seed_0'), help='finished chain')
    parser.add_argument('--data', type=Path, default=Path('data/quickstart'), help='its scenes')
    args = parser.parse_args()
    MMLogger.get_instance('figures', logger_name='mmengine', log_level='WARNING')
    model = load_model(Config.fromfile(ROOT / DAPT), args.run / 'dapt')
    scenes = sorted((args.data / 'img_dir/val').glob('*.png'))
    tiles = list(file_tiles([scenes[i] for i in (0, 1, 14, 29)], 4))
    pictures = dict(quickstart=draw_run(args.run, args.data), egmim_masks=draw_masks(model, tiles[:2]),
                    egmim_reconstruction=draw_reconstructions(model, [tiles[0], *tiles[2:]]))
    for name, picture in pictures.items():
        path = FOLDER / f'{name}.jpg'
        Image.fromarray(picture).save(path, quality=80)
        print(f'wrote {path} ({picture.shape[1]} x {picture.shape[0]} px, {path.stat().st_size / 1000:.0f} kB)')


if __name__ == '__main__':
    main()
