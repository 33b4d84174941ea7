#!/usr/bin/env python
"""Which tiles are labelled. Split files, a table and a picture of label budgets:

    python tools/label_budget.py configs/upernet_vaihingen.py --budgets 1% 5% 10% --seeds 0 1 2

Which tiles to label, before any label exists:

    python tools/label_budget.py suggest data/mine/images --count 30

Whether choosing them helps, by rounds of labelling on data whose masks are known:

    python tools/label_budget.py simulate configs/dubai_cpu/upernet.py --dev --backbone work_dirs/dubai/egmim_dapt
"""
import argparse
import sys

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm.study.budget_commands import COMMANDS  # noqa: E402

FURTHER = dict(
    suggest='Pick the most useful tiles to label.',
    simulate='Rounds of labelling on tiles whose masks are known: a read-out is fitted, tiles are chosen and labelled, '
    'and it is fitted again. What is there already is not made again.')


def parse_args(argv=None) -> argparse.Namespace:
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] and argv[0] in FURTHER:
        parser = argparse.ArgumentParser(prog=f'label_budget.py {argv[0]}', description=FURTHER[argv[0]])
        COMMANDS.configure(parser, argv.pop(0))
    else:
        parser = argparse.ArgumentParser(
            description='Write the tiles of label budgets as split files, with a table and a picture of their classes. '
            "'label_budget.py suggest --help': which tiles to label; 'simulate --help': whether choosing them helps.")
        COMMANDS.configure(parser, 'budgets')
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    # here: --help must not wait for torch
    from mmengine.logging import MMLogger

    from egmim_mm.engine.errors import user_errors
    # one line per parameter from init_weights would bury the result; warnings still show
    MMLogger.get_instance('label_budget', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        args.run(args)


if __name__ == '__main__':
    main()
