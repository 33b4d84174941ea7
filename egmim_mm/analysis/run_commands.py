"""The subcommands of ``tools/analyze.py`` that make or compare trainings; heavy imports stand in the runs."""
import argparse

from egmim_mm.option_values import named_sources
from egmim_mm.subcommands import add_cfg_options, add_dev, add_device

from .commands import COMMANDS, read_part

__all__ = ['COMMANDS']


def _readouts_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='segmentation config with label presets: model, data sets, metrics')
    parser.add_argument('--backbone', action='append', required=True, metavar='[NAME=]SOURCE',
                        help="checkpoint or work dir; the word 'scratch' means random weights; repeat it for a table")
    tiles = parser.add_mutually_exclusive_group(required=True)
    tiles.add_argument('--budgets', nargs='+', metavar='N|P%', help='numbers or shares of labelled tiles')
    tiles.add_argument('--splits', nargs='+', metavar='FILE', help='labelled tiles by name: files <what>_seed<N>.txt, '
                       'as tools/label_budget.py writes them')
    parser.add_argument('--label-seeds', nargs='+', type=int, default=[0, 1, 2, 3, 4], metavar='SEED',
                        help='with --budgets: which tiles are labelled (default: 0 1 2 3 4)')
    parser.add_argument('--preset', default='read-out', metavar='NAME', help='one that is a read-out '
                        '(default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the cells that are learned from, and of random weights')
    add_device(parser)
    add_dev(parser)
    add_cfg_options(parser)


@COMMANDS.register_report('readouts', _readouts_options, 'readouts.json, readouts.png and a folder for each training',
                          'work_dirs/readouts/<config name>',
                          help='trainings with --budget, for many budgets and label seeds in one pass',
                          description='The read-out preset on each backbone, as tools/train.py and tools/test.py make '
                          'it. Every choice of tiles leaves results.json and per_image.npz, so that two starts can be '
                          'compared; what is there already is not made again.')
def _readouts(args: argparse.Namespace) -> None:
    import torch

    from egmim_mm.engine.launch import load_config
    from egmim_mm.evaluation.protocol import evaluated_part

    from .readouts_report import budget_choices, print_readouts, report_readouts, split_choices
    choices = split_choices(args.splits) if args.splits else budget_choices(args.budgets, args.label_seeds)
    cfg = load_config(args.config, args.out, args.cfg_options, args.dev, (args.budgets or ['1'])[0], args.preset)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    print_readouts(report_readouts(cfg, named_sources(args.backbone), args.out, choices, args.seed, device),
                   evaluated_part(cfg, 'test'))


def _compare_options(parser: argparse.ArgumentParser) -> None:
    for name, metavar in (('first', 'A'), ('second', 'B')):
        parser.add_argument(name, metavar=metavar, help='[NAME=]DIR: work dir of a tested model, or with --seeds a '
                            '--seeds a path with {seed} in it')
    parser.add_argument('--seeds', nargs='+', type=int, metavar='SEED',
                        help='trainings of both: {seed} in the paths stands for each of these')
    parser.add_argument('--pretraining-seeds', nargs='+', type=int, metavar='SEED', help='with --seeds: pretrainings '
                        'that each was trained from; {pretraining} in the paths stands for each')
    parser.add_argument('--draws', type=int, default=2000, metavar='N', help='resamples (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the resampling (default: %(default)s)')
    parser.add_argument('--images', type=int, default=6, metavar='N', help='test images on the sheet, those that '
                        'differ most; 0: no sheet (default: %(default)s)')
    parser.add_argument('--out', default='work_dirs/compare', help='folder of comparison.json, comparison.png and '
                        'differing_images.png (default: %(default)s)')


@COMMANDS.register('compare', _compare_options, help='difference of two models on the same test images, with intervals',
                   description='B less A, paired by seed and by image, from the counts of each image that every test '
                   'leaves in its work dir.')
def _compare(args: argparse.Namespace) -> None:
    from .comparison import compare_runs, print_comparison
    document = compare_runs(named_sources([args.first, args.second]), args.out, args.seeds, args.draws, args.seed,
                            args.images, args.pretraining_seeds)
    print_comparison(document)
    print(f'wrote {args.out}/comparison.json, comparison.png' + (f' and {document["sheet"]}' if document['sheet'] else
                                                                 ''))


def _pseudo_labels_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config of a second stage; its training tiles have masks. The model is that of '
                        'each run')
    parser.add_argument('--run', action='append', dest='runs', required=True, metavar='[NAME=]DIR',
                        help='work dir of a run, all of whose iter_*.pth are looked at, or one checkpoint; repeat it '
                        'for a line each. With --seeds a path with {seed} in it')
    parser.add_argument('--seeds', nargs='+', type=int, metavar='SEED', help='runs of one name: {seed} in the paths '
                        'stands for each of these')
    parser.add_argument('--tiles', type=int, metavar='N', help='look at so many of the unlabelled tiles, spread evenly '
                        '(default: all)')
    add_device(parser)
    add_dev(parser)
    add_cfg_options(parser)


@COMMANDS.register_report('pseudo-labels', _pseudo_labels_options, 'pseudo_labels.json and pseudo_labels.png',
                          'work_dirs/pseudo_labels/<config name>',
                          help='how right the pseudo-labels of a second stage are, over its training',
                          description='Accuracy, coverage and accuracy near boundaries of the pseudo-labels on the '
                          'training tiles that none of the runs has labels of, for each checkpoint.')
def _pseudo_labels(args: argparse.Namespace) -> None:
    from egmim_mm.inference.segmenter import usable_device

    from .pseudo_label_report import print_pseudo_labels, report_pseudo_labels
    print_pseudo_labels(report_pseudo_labels(read_part(args), named_sources(args.runs), args.out, args.seeds,
                                             args.tiles, str(usable_device(args.device))))
