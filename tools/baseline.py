#!/usr/bin/env python
"""What can be had without pretraining: a random forest on hand-made pixel features, judged as the networks are.

    python tools/baseline.py forest configs/upernet_dubai.py --budget 5 --seed 0
    python tools/baseline.py predict work_dirs/upernet_dubai_forest imagery/*.tif --out maps
"""
import argparse

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm.baselines.commands import COMMANDS  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Baselines that need no pretraining.')
    COMMANDS.add_to(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    # here: --help must not wait for torch
    from mmengine.logging import MMLogger

    from egmim_mm.engine.errors import user_errors
    MMLogger.get_instance('baseline', logger_name='mmengine', log_level='INFO')
    with user_errors():
        args.run(args)


if __name__ == '__main__':
    main()
