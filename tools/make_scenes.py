#!/usr/bin/env python
"""Write a data set of synthetic aerial scenes.

    python tools/make_scenes.py --out data/quickstart --train 200 --val 40 --unlabeled 600
"""
import argparse

from egmim_mm.environment import quiet_imports


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description='Write synthetic aerial scenes with exact masks.')
    parser.add_argument('--out', required=True, help='folder of the data set')
    parser.add_argument('--train', type=int, default=200, help='labelled training tiles')
    parser.add_argument('--val', type=int, default=40, help='labelled validation tiles')
    parser.add_argument('--unlabeled', type=int, default=600, help='tiles without masks')
    parser.add_argument('--size', type=int, default=256, help='side of a tile in px')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=1, help='processes')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace scenes that were made with other parameters')
    return parser.parse_args(argv)


def main(argv=None):
    quiet_imports()
    args = parse_args(argv)
    # here: --help must not wait for torch, and the processes that are started read this file again
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.synthetic import write_dataset
    with user_errors('Interrupted: the same command goes on where it stopped'):
        written = write_dataset(args.out, args.train, args.val, args.unlabeled, args.size,
                                args.seed, args.workers, args.overwrite)
        total = args.train + args.val + args.unlabeled
        print(f'{args.out}: {written} scenes written, {total - written} were there')


if __name__ == '__main__':
    main()
