#!/usr/bin/env python
"""Look at edges, masks, reconstructions and training data before and after training. Each is one subcommand:

    python tools/visualize.py edges CONFIG --operators gaussian_sobel structure_tensor
    python tools/visualize.py masks CONFIG --policies random edge_stratified
    python tools/visualize.py reconstruction CONFIG CHECKPOINT_OR_WORK_DIR --images FILE_OR_FOLDER
    python tools/visualize.py data CONFIG
"""
import argparse
from pathlib import Path

from egmim_mm.environment import quiet_imports

quiet_imports()

from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402

from egmim_mm.datasets.plain_tiles import Tile, build_training_data, centre_crop, dataset_tiles, file_tiles  # noqa: E402
from egmim_mm.edges import OPERATORS  # noqa: E402
from egmim_mm.engine.errors import user_errors  # noqa: E402
from egmim_mm.engine.launch import load_config  # noqa: E402
from egmim_mm.masking import POLICIES  # noqa: E402
from egmim_mm.pictures.pretraining import (  # noqa: E402
    as_rows,
    build_model,
    edge_panels,
    load_model,
    mask_rows,
    picture_size,
    picture_unit,
    reconstruction_panels,
)
from egmim_mm.pictures.sheets import contact_sheet, picture_path  # noqa: E402
from egmim_mm.pictures.training_data import TrainingViews  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, text: str, num: int = 6) -> argparse.ArgumentParser:
        new = commands.add_parser(name, help=text, description=text)
        new.add_argument('config', help='config file')
        new.add_argument('--out', help='picture to write, .png or .jpg; one that is there is replaced '
                         f'(default: work_dirs/pictures/<config name>_{name}.png)')
        new.add_argument('--num', type=int, default=num, help='tiles, spread over the training data or over each '
                         'folder of --images (default: %(default)s)')
        new.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                         help='override settings of the config')
        return new

    def add_images(new: argparse.ArgumentParser) -> None:
        new.add_argument('--images', nargs='+', metavar='FILE_OR_FOLDER',
                         help='other images than the training data of the config')
        new.add_argument('--size', type=int, help='side of the square that is cut from the centre of each image, px '
                         "(default: the first multiple of the backbone's img_size from 224 on)")

    edges = command('edges', 'Image and edge prior, as the config computes it or by several operators.')
    add_images(edges)
    edges.add_argument('--operators', nargs='+', choices=OPERATORS, default=[], help="default: the config's")

    masks = command('masks', 'Image, edge prior and the masks of several policies and seeds.')
    add_images(masks)
    masks.add_argument('--policies', nargs='+', choices=POLICIES, default=[], help="default: the config's")
    masks.add_argument('--seeds', nargs='+', type=int, default=[0, 1], help='default: 0 1')
    masks.add_argument('--progress', nargs='+', type=float, default=[1.0],
                       help='shares of the training that are done (default: 1, the end)')

    reconstruction = command('reconstruction', 'Image, edge prior, masked image and what a trained model makes of it.')
    reconstruction.add_argument('checkpoint', help='checkpoint file or work dir of a pretraining run')
    add_images(reconstruction)
    reconstruction.add_argument('--seed', type=int, default=0, help='of the masks')

    data = command('data', 'What the training pipeline yields: tiles, augmented views and labels.', num=4)
    data.add_argument('--views', type=int, default=3, help='random views of each tile (default: %(default)s)')
    data.add_argument('--seed', type=int, default=0, help='of the augmentation')
    args = parser.parse_args()
    if args.num < 1 or getattr(args, 'views', 1) < 1:
        parser.error('--num and --views must be at least 1')
    return args


def read_tiles(args: argparse.Namespace, cfg: Config, model) -> list[Tile]:
    """The images to show, cut to the size of the pictures."""
    if args.images:
        found = file_tiles(args.images, args.num, cfg.train_dataloader.dataset.pipeline)
    else:
        found = dataset_tiles(build_training_data(cfg), args.num)
    return [centre_crop(tile, args.size or picture_size(model), picture_unit(model)) for tile in found]


def show(args: argparse.Namespace, cfg: Config) -> dict:
    """Arguments of the contact sheet: rows, titles, row_titles, legend, width."""
    if args.command == 'data':
        views = TrainingViews(cfg)
        titles, rows, names = views.rows(args.num, args.views, args.seed)
        return dict(rows=rows, titles=titles, row_titles=names, legend=views.legend)
    model = load_model(cfg, args.checkpoint) if args.command == 'reconstruction' else build_model(cfg)
    tiles = read_tiles(args, cfg, model)
    if args.command == 'edges':
        titles, rows = as_rows(edge_panels(model, tile, args.operators) for tile in tiles)
    elif args.command == 'masks':
        titles, rows = mask_rows(model, tiles, args.policies, args.seeds, args.progress)
    else:
        titles, rows = as_rows(reconstruction_panels(model, tile, args.seed + i) for i, tile in enumerate(tiles))
    width = min(max(tile.image.shape[1] for tile in tiles), 384)
    return dict(rows=rows, titles=titles, row_titles=[tile.name for tile in tiles], width=max(width, 224))


def main() -> None:
    args = parse_args()
    # one line per parameter from init_weights would bury the result; warnings still show
    MMLogger.get_instance('visualize', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        cfg = load_config(args.config, None, args.cfg_options)
        out = picture_path(args.out or f'work_dirs/pictures/{Path(args.config).stem}_{args.command}.png')
        contact_sheet(path=out, **show(args, cfg))
        print(f'wrote {out}')


if __name__ == '__main__':
    main()
