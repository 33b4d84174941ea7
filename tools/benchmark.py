#!/usr/bin/env python
"""Speed on this machine. Each measurement is one subcommand:

    python tools/benchmark.py all
    python tools/benchmark.py pretrain configs/_base_/models/egmim_swin-tiny.py --batch 64 --amp
    python tools/benchmark.py data
    python tools/benchmark.py wait
    python tools/benchmark.py boundaries
    python tools/benchmark.py start --files 1000000
    python tools/benchmark.py predict configs/quickstart/upernet.py work_dirs/quickstart/seed_0/egmim
    python tools/benchmark.py predict-memory
    python tools/benchmark.py time-to-score
    python tools/benchmark.py equal-learning --steps 600
"""
import argparse

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm.study.learning_commands import COMMANDS  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Speed on this machine.')
    COMMANDS.add_to(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    # here: --help must not wait for torch
    from mmengine.logging import MMLogger

    from egmim_mm.engine.errors import user_errors
    # one line per parameter from init_weights would bury the table; warnings still show
    MMLogger.get_instance('benchmark', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        args.run(args)


if __name__ == '__main__':
    main()
