#!/usr/bin/env python
"""Analyses of backbones, models and imagery. Each is one subcommand:

    python tools/analyze.py probe CONFIG --backbone scratch --backbone dapt=work_dirs/egmim_dapt_dubai
    python tools/analyze.py edges CONFIG --operators gaussian_sobel structure_tensor:rho=2
    python tools/analyze.py edge-floor FOLDER
    python tools/analyze.py masks FOLDER
    python tools/analyze.py errors CONFIG --predictions scratch=maps/scratch --predictions dapt=maps/dapt
    python tools/analyze.py seams CONFIG CHECKPOINT RASTER
"""
import argparse

from egmim_mm.environment import quiet_imports


def add_probe(commands) -> None:
    from mmengine.config import DictAction
    command = commands.add_parser(
        'probe', help='frozen backbone, linear classifier, all training labels, test mIoU',
        description='Read out frozen backbones with a linear classifier on their four stages.')
    command.add_argument('config', help='segmentation config: backbone, normalisation, data sets')
    command.add_argument('--backbone', action='append', metavar='[NAME=]SOURCE',
                         help="checkpoint or work dir; the word 'scratch' means random weights; "
                         'repeat it for a table (default: scratch)')
    command.add_argument('--stages', choices=('all', 'each'), default='all',
                         help='one classifier on all stages, or also one on each stage')
    command.add_argument('--crop', type=int, help="window in pixels (default: the backbone's img_size)")
    command.add_argument('--samples', type=int, default=50_000,
                         help='most training cells of 4 x 4 px (default: %(default)s)')
    command.add_argument('--seed', type=int, default=0, help='of the cells and of random weights')
    command.add_argument('--out', help='folder of probe.json and probe.png '
                         '(default: work_dirs/probe/<config name>)')
    command.add_argument('--device', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')
    command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                         help='override values of the config')


def run_probe(args: argparse.Namespace) -> None:
    from egmim_mm.analysis.frozen_backbone import SCRATCH
    from egmim_mm.analysis.probe_report import compare_backbones, named_sources, print_rows
    cfg, out_dir = read_config(args, 'probe')
    rows = compare_backbones(cfg, named_sources(args.backbone or [SCRATCH]), out_dir, args.stages,
                             args.crop, args.samples, args.seed, args.device)
    print_rows(rows)
    print(f'wrote {out_dir}/probe.json and probe.png')


def add_edges(commands) -> None:
    from mmengine.config import DictAction
    command = commands.add_parser(
        'edges', help='which edge operator tells best where class boundaries are',
        description="AUC with which a patch's mean edge strength predicts that it holds a class boundary, on all "
        'training and test tiles.')
    command.add_argument('config', help='segmentation config: data sets')
    command.add_argument('--operators', nargs='+', metavar='OPERATOR[:NAME=VALUE,...]',
                         help='for example canny:sigma=1,low=0.2,floor=0.01 (default: all operators with their '
                         'defaults, no floor)')
    command.add_argument('--patches', nargs='+', type=int, default=[8, 16, 32], metavar='PX',
                         help='sides of the patches (default: 8 16 32)')
    command.add_argument('--crop', type=int, metavar='PX', help='normalise within windows of this side, as training '
                         'does (default: within the whole image)')
    command.add_argument('--out', help='folder of edges.json, edges.md and edges.png '
                         '(default: work_dirs/edges/<config name>)')
    command.add_argument('--device', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')
    command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                         help='override values of the config')


def run_edges(args: argparse.Namespace) -> None:
    from egmim_mm.analysis.edge_quality import compare_operators, print_auc
    from egmim_mm.edges import OPERATORS
    cfg, out_dir = read_config(args, 'edges')
    print_auc(compare_operators(cfg, args.operators or OPERATORS, args.patches, out_dir, args.crop, args.device))
    print(f'wrote {out_dir}/edges.json, edges.md and edges.png')


def add_edge_floor(commands) -> None:
    command = commands.add_parser(
        'edge-floor', help="the edge prior's floor for a folder of images",
        description='Measure how strong edges are in the imagery and recommend a floor below which images are not '
        'amplified.')
    command.add_argument('folder', help='images, also in folders below it')
    command.add_argument('--include', metavar='PATTERN', help="only images whose path below FOLDER, without suffix, "
                         "matches, as '*/images/*' does; leave out masks")
    command.add_argument('--operator', default='gaussian_sobel', metavar='OPERATOR[:NAME=VALUE,...]',
                         help='edge operator (default: %(default)s)')
    command.add_argument('--percentile', type=float, default=5,
                         help='share of the windows, in %%, that the floor keeps faint (default: %(default)s)')
    command.add_argument('--crop', type=int, default=224, metavar='PX',
                         help='side of a window, as in training (default: %(default)s)')
    command.add_argument('--limit', type=int, default=1000, metavar='N',
                         help='most images to read, spread evenly over the folder (default: %(default)s)')
    command.add_argument('--out', default='work_dirs/edge_floor',
                         help='folder of edge_floor.json and edge_floor.png (default: %(default)s)')


def run_edge_floor(args: argparse.Namespace) -> None:
    from egmim_mm.analysis.edge_floor import measure_floor, print_floor
    print_floor(measure_floor(args.folder, args.operator, args.percentile, args.crop, args.limit, args.out,
                              args.include))
    print(f'wrote {args.out}/edge_floor.json and edge_floor.png')


def add_masks(commands) -> None:
    command = commands.add_parser(
        'masks', help='what each mask policy hides and leaves, on crops of a folder of images',
        description='Distance to visible pixels, hidden edges and connected hidden area of each mask policy.')
    command.add_argument('folder', help='images, also in folders below it')
    command.add_argument('--include', metavar='PATTERN', help="only images whose path in the folder, without suffix, "
                         "matches, for example '*/images/*'")
    command.add_argument('--crops', type=int, default=160, metavar='N', help='number of crops (default: %(default)s)')
    command.add_argument('--size', type=int, default=192, metavar='PX', help='side of a crop (default: %(default)s)')
    command.add_argument('--ratio', type=float, default=0.6, help='share of hidden tokens (default: %(default)s)')
    command.add_argument('--seed', type=int, default=0, help='of crops and masks')
    command.add_argument('--out', default='work_dirs/masks', help='folder of masks.json (default: %(default)s)')


def run_masks(args: argparse.Namespace) -> None:
    from egmim_mm.analysis.mask_statistics import report_policies
    report_policies(args.folder, args.include, args.crops, args.size, args.ratio, args.seed, args.out)
    print(f'wrote {args.out}/masks.json')


def add_errors(commands) -> None:
    from mmengine.config import DictAction

    from egmim_mm.analysis.error_report import DISTANCES, SIZES
    command = commands.add_parser(
        'errors', help='IoU by the distance to class boundaries and by the size of objects',
        description='Where saved predictions of the test tiles go wrong, for one model or several.')
    command.add_argument('config', help='segmentation config: test data')
    command.add_argument('--predictions', action='append', required=True, metavar='[NAME=]DIR',
                         help='class maps that tools/test.py --out wrote; repeat it to compare models')
    command.add_argument('--distances', nargs='+', type=float, default=list(DISTANCES), metavar='PX',
                         help='lower ends of the distance bins (default: %(default)s)')
    command.add_argument('--sizes', nargs='+', type=float, default=list(SIZES), metavar='PX',
                         help='lower ends of the size bins, areas in px (default: %(default)s)')
    command.add_argument('--out', help='folder of errors.json and errors.png '
                         '(default: work_dirs/errors/<config name>)')
    command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                         help='override values of the config')


def run_errors(args: argparse.Namespace) -> None:
    from egmim_mm.analysis.error_report import print_errors, report_errors
    from egmim_mm.analysis.probe_report import named_sources
    cfg, out_dir = read_config(args, 'errors')
    print_errors(report_errors(cfg, named_sources(args.predictions), out_dir, args.distances, args.sizes))
    print(f'wrote {out_dir}/errors.json and errors.png')


def add_seams(commands) -> None:
    from mmengine.config import DictAction
    command = commands.add_parser(
        'seams', help='whether window borders show in maps of large rasters',
        description='How often the class changes across window borders compared with elsewhere: windows cut hard, '
        "MMSegmentation's slide inference, and tools/predict.py.")
    command.add_argument('config', help='config of the fine-tuning run')
    command.add_argument('checkpoint', help='checkpoint file, work dir or address')
    command.add_argument('raster', help='of several windows; it has to fit into memory')
    command.add_argument('--window', type=int, metavar='PX', help="(default: the crop of the config's slide inference)")
    command.add_argument('--overlap', type=float, default=0.25, help='of our windows (default: %(default)s)')
    command.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    command.add_argument('--scaling', metavar='FILE', help='of tools/measure_bands.py, for samples that are not 8-bit')
    command.add_argument('--device', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')
    command.add_argument('--out', help='folder of seams.json and seams.png (default: work_dirs/seams/<config name>)')
    command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                         help='override values of the config')


def run_seams(args: argparse.Namespace) -> None:
    from egmim_mm.analysis.seams import print_seams, report_seams
    from egmim_mm.inference import Segmenter
    from egmim_mm.storage.band_scaling import load_scaling
    cfg, out_dir = read_config(args, 'seams')
    scaling = load_scaling(args.scaling) if args.scaling else None
    print_seams(report_seams(Segmenter(cfg, args.checkpoint, args.device), args.raster, out_dir, args.window,
                             args.overlap, args.bands, scaling))
    print(f'wrote {out_dir}/seams.json and seams.png')


# subcommand -> adds its arguments; runs it
COMMANDS = {
    'probe': (add_probe, run_probe),
    'edges': (add_edges, run_edges),
    'edge-floor': (add_edge_floor, run_edge_floor),
    'masks': (add_masks, run_masks),
    'errors': (add_errors, run_errors),
    'seams': (add_seams, run_seams),
}


def read_config(args: argparse.Namespace, analysis: str):
    """The config with its overrides, and the folder for the results."""
    from pathlib import Path

    from mmengine.config import Config
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    return cfg, args.out or f'work_dirs/{analysis}/{Path(args.config).stem}'


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Analyses of backbones, models and imagery.')
    commands = parser.add_subparsers(dest='command', required=True)
    for add, _ in COMMANDS.values():
        add(commands)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    quiet_imports()
    args = parse_args(argv)
    from mmengine.logging import MMLogger

    from egmim_mm.engine.errors import user_errors
    # One line per parameter from init_weights would bury the table; warnings still show.
    MMLogger.get_instance('analyze', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        COMMANDS[args.command][1](args)


if __name__ == '__main__':
    main()
