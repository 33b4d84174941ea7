"""The subcommands of ``tools/visualize.py``; heavy imports stand in the runs, so that ``--help`` is fast."""
import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config

from egmim_mm.edges import OPERATORS
from egmim_mm.masking import POLICIES
from egmim_mm.option_values import named_sources
from egmim_mm.subcommands import Subcommands, add_cfg_options, read_config

__all__ = ['COMMANDS']

COMMANDS = Subcommands()
EDGES = 'Image and edge prior, as the config computes it or by several operators.'
MASKS = 'Image, edge prior and the masks of several policies and seeds.'
RECONSTRUCTION = 'Image, edge prior, masked image and what a trained model makes of it.'
FEATURES = 'Image, edge prior and the features of one or several backbones, three principal components as colours.'
DATA = 'What the training pipeline yields: tiles, augmented views and labels.'


def count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError('--num and --views must be at least 1')
    return int(text)


def _add_common(parser: argparse.ArgumentParser, name: str, num: int = 6) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--out', help='picture to write, .png or .jpg; one that is there is replaced '
                        f'(default: work_dirs/pictures/<config name>_{name}.png)')
    parser.add_argument('--num', type=count, default=num, help='tiles, spread over the training data or over each '
                        'folder of --images (default: %(default)s)')
    add_cfg_options(parser)


def _add_images(parser: argparse.ArgumentParser,
                size: str = "the first multiple of the backbone's img_size from 224 on") -> None:
    parser.add_argument('--images', nargs='+', metavar='FILE_OR_FOLDER',
                        help='other images than the training data of the config')
    parser.add_argument('--size', type=int, help='side of the square that is cut from the centre of each image, px '
                        f'(default: {size})')


def _read_tiles(args: argparse.Namespace, cfg: Config, size: int, unit: int = 32) -> list:
    """The images to show, cut to ``--size``, or else ``size``, a multiple of ``unit``, px."""
    from egmim_mm.datasets.plain_tiles import build_training_data, centre_crop, dataset_tiles, file_tiles
    if args.images:
        tiles = file_tiles(args.images, args.num, cfg.train_dataloader.dataset.pipeline)
    else:
        tiles = dataset_tiles(build_training_data(cfg), args.num)
    return [centre_crop(tile, args.size or size, unit) for tile in tiles]


def _read_squares(args: argparse.Namespace, cfg: Config, model: Any) -> list:
    """The images to show in the size of the pictures of a pretraining model."""
    from .pretraining import picture_size, picture_unit
    return _read_tiles(args, cfg, picture_size(model), picture_unit(model))


def _picture(args: argparse.Namespace) -> Path:
    """Where the sheet goes; said before the work, because a wrong ending would waste it."""
    from .sheets import picture_path
    return picture_path(args.out or f'work_dirs/pictures/{Path(args.config).stem}_{args.command}.png')


def _write(out: Path, titles: list[str], rows: list, names: list[str], **options) -> None:
    from .sheets import contact_sheet
    contact_sheet(rows, titles, out, row_titles=names, **options)
    print(f'wrote {out}')


def _write_tiles(out: Path, tiles: list, titles: list[str], rows: list) -> None:
    width = min(max(tile.image.shape[1] for tile in tiles), 384)
    _write(out, titles, rows, [tile.name for tile in tiles], width=max(width, 224))


def _edges_options(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'edges')
    _add_images(parser)
    parser.add_argument('--operators', nargs='+', choices=OPERATORS, default=[], help="default: the config's")


@COMMANDS.register('edges', _edges_options, help=EDGES, description=EDGES)
def _edges(args: argparse.Namespace) -> None:
    from .pretraining import as_rows, build_model, edge_panels
    cfg, out = read_config(args), _picture(args)
    model = build_model(cfg)
    tiles = _read_squares(args, cfg, model)
    _write_tiles(out, tiles, *as_rows(edge_panels(model, tile, args.operators) for tile in tiles))


def _masks_options(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'masks')
    _add_images(parser)
    parser.add_argument('--policies', nargs='+', choices=POLICIES, default=[], help="default: the config's")
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1], help='default: 0 1')
    parser.add_argument('--progress', nargs='+', type=float, default=[1.0],
                        help='shares of the training that are done (default: 1, the end)')


@COMMANDS.register('masks', _masks_options, help=MASKS, description=MASKS)
def _masks(args: argparse.Namespace) -> None:
    from .pretraining import build_model, mask_rows
    cfg, out = read_config(args), _picture(args)
    model = build_model(cfg)
    tiles = _read_squares(args, cfg, model)
    _write_tiles(out, tiles, *mask_rows(model, tiles, args.policies, args.seeds, args.progress))


def _reconstruction_options(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'reconstruction')
    parser.add_argument('checkpoint', help='checkpoint file or work dir of a pretraining run')
    _add_images(parser)
    parser.add_argument('--seed', type=int, default=0, help='of the masks')


@COMMANDS.register('reconstruction', _reconstruction_options, help=RECONSTRUCTION, description=RECONSTRUCTION)
def _reconstruction(args: argparse.Namespace) -> None:
    from .pretraining import as_rows, load_model, reconstruction_panels
    cfg, out = read_config(args), _picture(args)
    model = load_model(cfg, args.checkpoint)
    tiles = _read_squares(args, cfg, model)
    _write_tiles(out, tiles, *as_rows(reconstruction_panels(model, tile, args.seed + i)
                                      for i, tile in enumerate(tiles)))


def _features_options(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'features', num=3)
    parser.add_argument('--backbone', action='append', required=True, metavar='[NAME=]SOURCE',
                        help="checkpoint or work dir; the word 'scratch' means random weights; repeat it to compare")
    _add_images(parser, '1024; whole images up to that')
    parser.add_argument('--stages', nargs='+', type=int, default=[3], metavar='N', help='numbers of the stages, from '
                        '1 on; one column for each and backbone (default: 3)')
    parser.add_argument('--seed', type=int, default=0, help='of random weights')


@COMMANDS.register('features', _features_options, help=FEATURES, description=FEATURES)
def _features(args: argparse.Namespace) -> None:
    from .features import LARGEST, feature_rows
    cfg, out = read_config(args), _picture(args)
    tiles = _read_tiles(args, cfg, LARGEST)
    _write_tiles(out, tiles, *feature_rows(cfg, named_sources(args.backbone), tiles, args.stages, args.seed))


def _data_options(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, 'data', num=4)
    parser.add_argument('--views', type=count, default=3, help='random views of each tile (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation')


@COMMANDS.register('data', _data_options, help=DATA, description=DATA)
def _data(args: argparse.Namespace) -> None:
    from .training_data import TrainingViews
    cfg, out = read_config(args), _picture(args)
    views = TrainingViews(cfg)
    _write(out, *views.rows(args.num, args.views, args.seed), legend=views.legend)
