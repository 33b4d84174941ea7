#!/usr/bin/env python
"""Which tiles are labelled. Split files, a table and a picture of label budgets:

    python tools/label_budget.py configs/upernet_vaihingen.py --budgets 1% 5% 10% --seeds 0 1 2

Which tiles to label, before any label exists:

    python tools/label_budget.py suggest data/mine/images --count 30
"""
import argparse
import sys

from egmim_mm.environment import quiet_imports


def parse_budgets(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the tiles of label budgets as split files, with a table and a picture of their classes. '
        "'label_budget.py suggest --help': which tiles to label when there are no labels yet.")
    parser.add_argument('config', help='config with train_dataloader.dataset, for example that of a data set')
    parser.add_argument('--budgets', nargs='+', default=['1%', '5%', '10%'], metavar='BUDGET',
                        help='5%%, 0.05 or a count (default: 1%% 5%% 10%%)')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='(default: 0 1 2)')
    parser.add_argument('--strategy', choices=('class_covering', 'random', 'source'),
                        help="(default: the sampler's in the config, or class_covering)")
    parser.add_argument('--unit', choices=('tile', 'source'), help="(default: the sampler's in the config, or tile)")
    parser.add_argument('--out', help='folder (default: work_dirs/label_budget/<config name>)')
    return parser.parse_args(argv)


def parse_suggest(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='label_budget.py suggest', description='Pick the most useful tiles to label.')
    parser.add_argument('folder', help='folder of images without labels')
    parser.add_argument('--count', type=int, required=True, metavar='N', help='tiles to pick')
    parser.add_argument('--include', nargs='+', metavar='PATTERN', help='only images whose name matches')
    parser.add_argument('--method', choices=('typical_cluster', 'k_centre'), default='typical_cluster',
                        help='(default: %(default)s)')
    parser.add_argument('--config', help='segmentation config of --backbone')
    parser.add_argument('--backbone', help='checkpoint or work dir: choose by its features, not by colours and edges')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', default='work_dirs/label_budget/suggest', help='folder (default: %(default)s)')
    return parser.parse_args(argv)


def run_budgets(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmengine.config import Config

    from egmim_mm.analysis.budget_report import print_rows, report_budgets
    from egmim_mm.datasets.plain_tiles import build_training_data
    cfg = Config.fromfile(args.config)
    cfg.setdefault('default_scope', 'mmseg')  # the config of a data set alone has none
    sampler = cfg.train_dataloader.get('sampler') or {}
    out_dir = args.out or f'work_dirs/label_budget/{Path(args.config).stem}'
    rows = report_budgets(build_training_data(cfg), args.budgets, args.seeds, out_dir,
                          args.strategy or sampler.get('strategy', 'class_covering'),
                          args.unit or sampler.get('unit', 'tile'))
    print_rows(rows)
    print(f'wrote {len(rows)} split files, budgets.json and budgets.png to {out_dir}')


def run_suggest(args: argparse.Namespace) -> None:
    from mmengine.logging import MMLogger

    # one line per parameter from init_weights would bury the result; warnings still show
    MMLogger.get_instance('label_budget', logger_name='mmengine', log_level='WARNING')
    from egmim_mm.analysis.suggest_report import suggest
    chosen = suggest(args.folder, args.count, args.out, args.include, args.method, args.config, args.backbone,
                     args.seed)
    print('\n'.join(chosen))
    print(f'wrote {args.out}/suggested.txt and suggested.jpg')


def main(argv=None) -> None:
    quiet_imports()
    argv = sys.argv[1:] if argv is None else list(argv)
    suggesting = argv[:1] == ['suggest']
    args = parse_suggest(argv[1:]) if suggesting else parse_budgets(argv)
    from egmim_mm.engine.errors import user_errors
    with user_errors():
        (run_suggest if suggesting else run_budgets)(args)


if __name__ == '__main__':
    main()
