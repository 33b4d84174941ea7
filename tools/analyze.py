#!/usr/bin/env python
"""Analyses of backbones, models and imagery. Each is one subcommand:

    python tools/analyze.py probe CONFIG --backbone scratch --backbone dapt=work_dirs/egmim_dapt_dubai
    python tools/analyze.py probe CONFIG --budget 5 --backbone scratch --backbone dapt=work_dirs/egmim_dapt_dubai
    python tools/analyze.py readouts CONFIG --budgets 2 5 --backbone scratch --backbone dapt=work_dirs/egmim_dapt_dubai
    python tools/analyze.py compare work_dirs/forest_{seed} work_dirs/upernet_{seed} --seeds 0 1 2 3 4
    python tools/analyze.py pseudo-labels CONFIG --run gppt=work_dirs/semi_gppt --run egmim=work_dirs/semi_egmim
    python tools/analyze.py edges CONFIG --operators gaussian_sobel structure_tensor:rho=2
    python tools/analyze.py edge-floor FOLDER
    python tools/analyze.py masks FOLDER
    python tools/analyze.py errors CONFIG --predictions scratch=maps/scratch --predictions dapt=maps/dapt
    python tools/analyze.py seams CONFIG CHECKPOINT RASTER
"""
import argparse

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm.analysis.run_commands import COMMANDS  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Analyses of backbones, models and imagery.')
    COMMANDS.add_to(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    # here: --help must not wait for torch
    from mmengine.logging import MMLogger

    from egmim_mm.engine.errors import user_errors
    # one line per parameter from init_weights would bury the table; warnings still show
    MMLogger.get_instance('analyze', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        args.run(args)


if __name__ == '__main__':
    main()
