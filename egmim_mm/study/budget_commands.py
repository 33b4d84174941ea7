"""What ``tools/label_budget.py`` does; heavy imports stand in the runs, so that ``--help`` is fast."""
import argparse
from pathlib import Path

from mmengine.config import Config

from egmim_mm.subcommands import Subcommands, add_cfg_options, add_dev, add_device

__all__ = ['COMMANDS']

COMMANDS = Subcommands()


def _budget_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config with train_dataloader.dataset, for example that of a data set')
    parser.add_argument('--budgets', nargs='+', default=['1%', '5%', '10%'], metavar='BUDGET',
                        help='5%%, 0.05 or a count (default: 1%% 5%% 10%%)')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='(default: 0 1 2)')
    parser.add_argument('--strategy', choices=('class_covering', 'random', 'source'),
                        help="(default: the sampler's in the config, or class_covering)")
    parser.add_argument('--unit', choices=('tile', 'source'), help="(default: the sampler's in the config, or tile)")
    parser.add_argument('--out', help='folder (default: work_dirs/label_budget/<config name>)')


@COMMANDS.register('budgets', _budget_options)
def _budgets(args: argparse.Namespace) -> None:
    from egmim_mm.datasets.plain_tiles import build_training_data

    from .budget_report import print_rows, report_budgets
    cfg = Config.fromfile(args.config)
    cfg.setdefault('default_scope', 'mmseg')  # the config of a data set alone has none
    sampler = cfg.train_dataloader.get('sampler') or {}
    out_dir = args.out or f'work_dirs/label_budget/{Path(args.config).stem}'
    rows = report_budgets(build_training_data(cfg), args.budgets, args.seeds, out_dir,
                          args.strategy or sampler.get('strategy', 'class_covering'),
                          args.unit or sampler.get('unit', 'tile'))
    print_rows(rows)
    print(f'wrote {len(rows)} split files, budgets.json and budgets.png to {out_dir}')


def _suggest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='folder of images without labels')
    parser.add_argument('--count', type=int, required=True, metavar='N', help='tiles to pick')
    parser.add_argument('--include', nargs='+', metavar='PATTERN', help='only images whose name matches')
    parser.add_argument('--method', choices=('typical_cluster', 'k_centre', 'uncertainty', 'weighted_typical_cluster',
                                             'weighted_k_centre'),
                        help='different tiles, those that a --model is unsure of, or both (default: typical_cluster)')
    parser.add_argument('--config', help='segmentation config of --backbone or --model')
    parser.add_argument('--backbone', help='checkpoint or work dir: choose by its features, not by colours and edges')
    parser.add_argument('--model', metavar='CHECKPOINT', help='checkpoint or work dir of a trained segmentation model: '
                        'choose by its features and uncertainty, given what is labelled')
    parser.add_argument('--labelled', metavar='FILE', help='with --model: names of the labelled tiles, one a line '
                        '(default: those that it was trained on)')
    parser.add_argument('--windows', type=int, metavar='PX', help='with --model: pick windows of this side, a multiple '
                        'of 32, in place of tiles')
    parser.add_argument('--seed', type=int, default=0)
    add_device(parser)
    parser.add_argument('--out', default='work_dirs/label_budget/suggest', help='folder (default: %(default)s)')


@COMMANDS.register('suggest', _suggest_options)
def _suggest(args: argparse.Namespace) -> None:
    if args.model is not None:
        _suggest_by_model(args)
        return
    from .suggest_report import suggest
    if args.labelled or args.windows or args.method not in (None, 'typical_cluster', 'k_centre'):
        raise ValueError('--labelled, --windows and methods by uncertainty go with --model')
    chosen = suggest(args.folder, args.count, args.out, args.include, args.method or 'typical_cluster', args.config,
                     args.backbone, args.seed)
    print('\n'.join(chosen))
    print(f'wrote {args.out}/suggested.txt and suggested.jpg')


def _suggest_by_model(args: argparse.Namespace) -> None:
    if args.config is None or args.backbone is not None:
        raise ValueError('--model needs --config, that of its run, and goes without --backbone')
    from .suggest_by_model import DEFAULT, suggest_by_model
    chosen = suggest_by_model(args.folder, args.count, args.out, args.config, args.model, args.labelled, args.include,
                              args.method or DEFAULT, args.seed, args.windows, args.device)
    print((Path(args.out) / 'suggested.csv').read_text().rstrip())
    kinds = 'suggested.csv, suggested.jpg'
    if args.windows is None:
        print(f'wrote {args.out}/{kinds} and suggested.txt: {len(chosen)} tiles')
    elif (Path(args.out) / 'suggested.gpkg').exists():
        print(f'wrote {args.out}/{kinds} and suggested.gpkg: {len(chosen)} windows')
    else:
        print(f'wrote {args.out}/{kinds}: {len(chosen)} windows; no suggested.gpkg, as the images have no place on the '
              'map, or are in several coordinate systems')


def _simulate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='segmentation config with label presets; its masks answer what is asked')
    parser.add_argument('--backbone', required=True, metavar='SOURCE', help="checkpoint or work dir; the word "
                        "'scratch' means random weights")
    parser.add_argument('--counts', nargs='+', type=int, default=[2, 4, 8], metavar='N',
                        help='labelled tiles of each round; the first are random (default: 2 4 8)')
    parser.add_argument('--seeds', nargs='+', type=int, default=list(range(10)), metavar='SEED',
                        help='simulations, each with other first tiles (default: 0 to 9)')
    parser.add_argument('--arms', nargs='+', metavar='ARM', help='how tiles are chosen; the others are compared with '
                        'the first (default: random typical_cluster k_centre uncertainty weighted_typical_cluster '
                        'weighted_k_centre)')
    parser.add_argument('--preset', default='read-out', metavar='NAME', help='one that is a read-out '
                        '(default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the cells that are learned from')
    add_device(parser)
    add_dev(parser)
    add_cfg_options(parser)


@COMMANDS.register_report('simulate', _simulate_options, 'active_rounds.json, active_rounds.png and a folder for each '
                          'training', 'work_dirs/label_budget/simulate/<config name>')
def _simulate(args: argparse.Namespace) -> None:
    from egmim_mm.engine.launch import load_config
    from egmim_mm.inference.segmenter import usable_device

    from .active_report import print_rounds, report_rounds
    from .active_rounds import ARMS
    cfg = load_config(args.config, args.out, args.cfg_options, args.dev, str(args.counts[0]), args.preset)
    print_rounds(report_rounds(cfg, args.backbone, args.counts, args.seeds, args.out, args.arms or ARMS, args.seed,
                               str(usable_device(args.device))))
