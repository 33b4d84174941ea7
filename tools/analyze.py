#!/usr/bin/env python
"""Analyses of backbones and models. Each is one subcommand:

    python tools/analyze.py probe CONFIG --backbone scratch --backbone dapt=work_dirs/egmim_dapt_dubai
"""
import argparse

from egmim_mm.environment import quiet_imports


def parse_args(argv=None) -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description='Analyses of backbones and models.')
    commands = parser.add_subparsers(dest='command', required=True)
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
    return parser.parse_args(argv)


def run_probe(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmengine.config import Config

    from egmim_mm.analysis.probe_report import SCRATCH, compare_backbones, named_sources, print_rows
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    out_dir = args.out or f'work_dirs/probe/{Path(args.config).stem}'
    rows = compare_backbones(cfg, named_sources(args.backbone or [SCRATCH]), out_dir, args.stages,
                             args.crop, args.samples, args.seed, args.device)
    print_rows(rows)
    print(f'wrote {out_dir}/probe.json and probe.png')


def main(argv=None) -> None:
    quiet_imports()
    args = parse_args(argv)
    from mmengine.logging import MMLogger

    from egmim_mm.engine.launch import user_errors
    # One line per parameter from init_weights would bury the table; warnings still show.
    MMLogger.get_instance('analyze', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        {'probe': run_probe}[args.command](args)


if __name__ == '__main__':
    main()
