"""The subcommands of ``tools/analyze.py``; heavy imports stand in the runs, so that ``--help`` is fast."""
import argparse

from mmengine.config import Config

from egmim_mm.option_values import named_sources
from egmim_mm.subcommands import Subcommands, add_cfg_options, add_dev, add_device, read_config

__all__ = ['COMMANDS', 'DISTANCES', 'SIZES', 'read_part']

COMMANDS = Subcommands()
DISTANCES = (0, 2, 4, 8, 16, 32)  # px, lower ends of the bins of ``errors``
SIZES = (0, 100, 1000, 10_000, 100_000)  # px


def read_part(args: argparse.Namespace) -> Config:
    """The config with its overrides, its dev part in the place of the test with ``--dev``."""
    cfg = read_config(args)
    if args.dev:
        from egmim_mm.engine.dev_part import use_dev_part
        use_dev_part(cfg)
    return cfg


def _probe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='segmentation config: backbone, normalisation, data sets')
    parser.add_argument('--backbone', action='append', metavar='[NAME=]SOURCE',
                        help="checkpoint or work dir; the word 'scratch' means random weights; "
                        'repeat it for a table (default: scratch)')
    parser.add_argument('--stages', choices=('all', 'each'), default='all',
                        help='one classifier on all stages, or also one on each stage')
    parser.add_argument('--crop', type=int, help="window in pixels (default: the backbone's img_size)")
    parser.add_argument('--samples', type=int, help='most training cells of 4 x 4 px (default: 50000; 20000 with '
                        '--budget)')
    parser.add_argument('--seed', type=int, default=0, help='of the cells and of random weights')
    parser.add_argument('--budget', metavar='N|P%', help='learn from so many labelled tiles, with equal classes, and '
                        'not from all')
    parser.add_argument('--label-seeds', nargs='+', type=int, metavar='SEED', help='with --budget: which tiles are '
                        'labelled, one reading each (default: 0 1 2 3 4)')
    add_device(parser)
    add_dev(parser)
    add_cfg_options(parser)


@COMMANDS.register_report('probe', _probe_options, 'probe.json and probe.png',
                          'work_dirs/probe/<config name>',
                          help='frozen backbone, linear classifier, all training labels or those of a budget, test '
                          'mIoU',
                          description='Read out frozen backbones with a linear classifier on their four stages.')
def _probe(args: argparse.Namespace) -> None:
    from egmim_mm.evaluation.protocol import evaluated_part
    from egmim_mm.inference.frozen_backbone import SCRATCH

    from .probe_report import compare_backbones, print_rows
    cfg = read_part(args)
    sources, part = named_sources(args.backbone or [SCRATCH]), evaluated_part(cfg, 'test')
    if args.budget is None:
        if args.label_seeds:
            raise ValueError('--label-seeds says which tiles a --budget labels: give both, or neither')
        print_rows(compare_backbones(cfg, sources, args.out, args.stages, args.crop, args.samples or 50_000, args.seed,
                                     args.device), part)
    else:
        from .budget_probe_report import print_seeds, probe_budget
        if args.stages != 'all':
            raise ValueError('--stages each goes without --budget: with one, all stages are read together')
        print_seeds(probe_budget(cfg, sources, args.out, args.budget, args.label_seeds or range(5), args.crop,
                                 args.samples or 20_000, args.seed, args.device), part)


def _edges_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='segmentation config: data sets')
    parser.add_argument('--operators', nargs='+', metavar='OPERATOR[:NAME=VALUE,...]',
                        help='for example canny:sigma=1,low=0.2,floor=0.01 (default: all operators with their '
                        'defaults, no floor)')
    parser.add_argument('--patches', nargs='+', type=int, default=[8, 16, 32], metavar='PX',
                        help='sides of the patches (default: 8 16 32)')
    parser.add_argument('--crop', type=int, metavar='PX', help='normalise within windows of this side, as training '
                        'does (default: within the whole image)')
    add_device(parser)
    add_cfg_options(parser)


@COMMANDS.register_report('edges', _edges_options, 'edges.json, edges.md and edges.png',
                          'work_dirs/edges/<config name>',
                          help='which edge operator tells best where class boundaries are',
                          description="AUC with which a patch's mean edge strength predicts that it holds a class "
                          'boundary, on all training and test tiles.')
def _edges(args: argparse.Namespace) -> None:
    from egmim_mm.edges import OPERATORS

    from .edge_quality import compare_operators, print_auc
    cfg = read_config(args)
    print_auc(compare_operators(cfg, args.operators or OPERATORS, args.patches, args.out, args.crop, args.device))


def _edge_floor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='images, also in folders below it')
    parser.add_argument('--include', metavar='PATTERN', help="only images whose path below FOLDER, without suffix, "
                        "matches, as '*/images/*' does; leave out masks")
    parser.add_argument('--operator', default='gaussian_sobel', metavar='OPERATOR[:NAME=VALUE,...]',
                        help='edge operator (default: %(default)s)')
    parser.add_argument('--percentile', type=float, default=5,
                        help='share of the windows, in %%, that the floor keeps faint (default: %(default)s)')
    parser.add_argument('--crop', type=int, default=224, metavar='PX',
                        help='side of a window, as in training (default: %(default)s)')
    parser.add_argument('--limit', type=int, default=1000, metavar='N',
                        help='most images to read, spread evenly over the folder (default: %(default)s)')


@COMMANDS.register_report('edge-floor', _edge_floor_options, 'edge_floor.json and edge_floor.png',
                          'work_dirs/edge_floor', help="the edge prior's floor for a folder of images",
                          description='Measure how strong edges are in the imagery and recommend a floor below which '
                          'images are not amplified.')
def _edge_floor(args: argparse.Namespace) -> None:
    from .edge_floor import measure_floor, print_floor
    print_floor(measure_floor(args.folder, args.operator, args.percentile, args.crop, args.limit, args.out,
                              args.include))


def _masks_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='images, also in folders below it')
    parser.add_argument('--include', metavar='PATTERN', help="only images whose path in the folder, without suffix, "
                        "matches, for example '*/images/*'")
    parser.add_argument('--crops', type=int, default=160, metavar='N', help='number of crops (default: %(default)s)')
    parser.add_argument('--size', type=int, default=192, metavar='PX', help='side of a crop (default: %(default)s)')
    parser.add_argument('--ratio', type=float, default=0.6, help='share of hidden tokens (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of crops and masks')


@COMMANDS.register_report('masks', _masks_options, 'masks.json', 'work_dirs/masks',
                          help='what each mask policy hides and leaves, on crops of a folder of images',
                          description='Distance to visible pixels, hidden edges and connected hidden area of each mask '
                          'policy.')
def _masks(args: argparse.Namespace) -> None:
    from .mask_statistics import report_policies
    report_policies(args.folder, args.include, args.crops, args.size, args.ratio, args.seed, args.out)


def _errors_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='segmentation config: test data')
    parser.add_argument('--predictions', action='append', required=True, metavar='[NAME=]DIR',
                        help='class maps that tools/test.py --out wrote; repeat it to compare models')
    parser.add_argument('--distances', nargs='+', type=float, default=list(DISTANCES), metavar='PX',
                        help='lower ends of the distance bins (default: %(default)s)')
    parser.add_argument('--sizes', nargs='+', type=float, default=list(SIZES), metavar='PX',
                        help='lower ends of the size bins, areas in px (default: %(default)s)')
    add_dev(parser)
    add_cfg_options(parser)


@COMMANDS.register_report('errors', _errors_options, 'errors.json and errors.png',
                          'work_dirs/errors/<config name>',
                          help='IoU by the distance to class boundaries and by the size of objects',
                          description='Where saved predictions of the test tiles go wrong, for one model or several.')
def _errors(args: argparse.Namespace) -> None:
    from .error_report import print_errors, report_errors
    cfg = read_part(args)
    print_errors(report_errors(cfg, named_sources(args.predictions), args.out, args.distances, args.sizes))


def _seams_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config of the fine-tuning run')
    parser.add_argument('checkpoint', help='checkpoint file, work dir or address')
    parser.add_argument('raster', help='of several windows; it has to fit into memory')
    parser.add_argument('--window', type=int, metavar='PX', help="(default: the crop of the config's slide inference)")
    parser.add_argument('--overlap', type=float, default=0.25, help='of our windows (default: %(default)s)')
    parser.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    parser.add_argument('--scaling', metavar='FILE', help='of tools/measure_bands.py, for samples that are not 8-bit')
    add_device(parser)
    add_cfg_options(parser)


@COMMANDS.register_report('seams', _seams_options, 'seams.json and seams.png',
                          'work_dirs/seams/<config name>', help='whether window borders show in maps of large rasters',
                          description='How often the class changes across window borders compared with elsewhere: '
                          "windows cut hard, MMSegmentation's slide inference, and tools/predict.py.")
def _seams(args: argparse.Namespace) -> None:
    from egmim_mm.inference import Segmenter
    from egmim_mm.storage.band_scaling import load_scaling

    from .seams import print_seams, report_seams
    cfg = read_config(args)
    scaling = load_scaling(args.scaling) if args.scaling else None
    print_seams(report_seams(Segmenter(cfg, args.checkpoint, args.device), args.raster, args.out, args.window,
                             args.overlap, args.bands, scaling))
