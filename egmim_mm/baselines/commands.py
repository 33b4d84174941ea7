"""The subcommands of ``tools/baseline.py``; heavy imports stand in the runs, so that ``--help`` is fast."""
import argparse
from itertools import product
from pathlib import Path

from egmim_mm.subcommands import Subcommands, add_cfg_options, add_dev

__all__ = ['COMMANDS']

COMMANDS = Subcommands()
SCALES, MIN_LEAVES = (0.5, 0.25), (1, 10, 50)


def _forest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='segmentation config: data sets, label budget, metrics')
    parser.add_argument('--budget', metavar='N|P%', help="labelled tiles (default: the sampler's in the config)")
    parser.add_argument('--seed', type=int, help="which tiles are labelled, and the forest's own seed (default: the "
                        "sampler's in the config)")
    parser.add_argument('--work-dir', help='(default: work_dirs/<config name>_forest)')
    parser.add_argument('--part', choices=('val', 'test'), default='test', help='what is evaluated '
                        '(default: %(default)s)')
    parser.add_argument('--scale', nargs='+', type=float, default=list(SCALES), metavar='S',
                        help='scales of the image; of several values, also of --min-leaf, the best is chosen on the '
                        'labelled tiles (default: 0.5 0.25)')
    parser.add_argument('--min-leaf', nargs='+', type=int, default=list(MIN_LEAVES), metavar='N',
                        help='fewest pixels of a leaf (default: 1 10 50)')
    parser.add_argument('--pixels', type=int, default=20_000, metavar='N',
                        help='pixels that are learned from, as many of each class (default: %(default)s)')
    parser.add_argument('--trees', type=int, default=100, metavar='N', help='(default: %(default)s)')
    add_dev(parser)
    add_cfg_options(parser)


@COMMANDS.register('forest', _forest_options, help='random forest on hand-made pixel features',
                   description='Fit a random forest to the labelled tiles and evaluate it as a training is; writes '
                   'forest.npz, results.json and per_image.npz.')
def _forest(args: argparse.Namespace) -> None:
    from egmim_mm.engine.launch import load_config
    from egmim_mm.engine.work_dir_lock import sole_run

    from .forest_fitting import ForestSettings
    from .forest_run import run_forest
    options = [ForestSettings(scale, leaf, args.pixels, args.trees)
               for scale, leaf in product(args.scale, args.min_leaf)]
    work_dir = args.work_dir or f'work_dirs/{Path(args.config).stem}_forest'
    cfg = load_config(args.config, work_dir, args.cfg_options, args.dev)
    with sole_run(work_dir):
        metrics = run_forest(cfg, work_dir, args.budget, args.seed, options, args.part)['metrics']
    print(', '.join(f'{key} {value:.2f} %' for key, value in metrics.items() if '/' not in key and key != 'kappa'))
    print(f'wrote {work_dir}/forest.npz, results.json and per_image.npz')


def _predict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('forest', help='work dir of the forest, or its forest.npz')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='rasters, or folders of them')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder of the maps')
    parser.add_argument('--window', type=int, metavar='PX', help='side of a window (default: 1024)')
    parser.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    parser.add_argument('--scaling', metavar='FILE', help='of tools/measure_bands.py, for samples that are not 8-bit')
    parser.add_argument('--nodata', metavar='VALUE', help="no-data value in place of the file's, or 'none'")
    for kind in ('probabilities', 'confidence', 'polygons'):
        parser.add_argument(f'--{kind}', action='store_true', help='as tools/predict.py')
    again = parser.add_mutually_exclusive_group()
    again.add_argument('--resume', action='store_true', help='leave maps that are there, and made in the same way')
    again.add_argument('--overwrite', action='store_true', help='replace maps that are there')


@COMMANDS.register('predict', _predict_options, help='maps of rasters with a fitted forest',
                   description='Make maps with a forest, as tools/predict.py makes them with a network.')
def _predict(args: argparse.Namespace) -> None:
    from egmim_mm.inference.run import run_maps

    from .forest_segmenter import ForestSegmenter
    options = {name: value for name, value in vars(args).items() if name not in ('command', 'run', 'forest')}
    run_maps(lambda: ForestSegmenter(args.forest), **options)
