#!/usr/bin/env python
"""The first ten minutes: synthetic aerial scenes -> EGMIM DAPT -> UperNet on 5 % of the labels -> table and pictures.

Prints every command it runs, so each step can be repeated by hand. Interrupted, it goes on where it stopped.
"""
import argparse
import sys

from egmim_mm.environment import quiet_imports


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='one whole chain per seed')
    parser.add_argument('--work-dir', help='runs, table and pictures (default: work_dirs/quickstart, or ..._toy)')
    parser.add_argument('--data', help='where the scenes go (default: data/quickstart, or ..._toy)')
    parser.add_argument('--toy', action='store_true', help='few scenes and four iterations: a minute, to see '
                        'whether everything runs; the scores mean nothing')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='passed to every training, for example train_cfg.max_iters=20 for a trial')
    args = parser.parse_args(argv)
    name = 'quickstart_toy' if args.toy else 'quickstart'  # a trial never mixes with the real one
    args.work_dir, args.data = args.work_dir or f'work_dirs/{name}', args.data or f'data/{name}'
    return args


def main(argv=None) -> None:
    quiet_imports()
    args = parse_args(argv)
    # here: --help must not wait for torch
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.study.quickstart import Quickstart, StepFailed
    with user_errors('Interrupted: the same command goes on where it stopped'):
        try:
            Quickstart(args.work_dir, args.data, args.seeds, args.cfg_options, args.toy).run()
        except StepFailed as error:
            sys.exit(f'Error: {error}')


if __name__ == '__main__':
    main()
