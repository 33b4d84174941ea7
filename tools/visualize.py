#!/usr/bin/env python
"""Look at edges, masks, reconstructions, features and training data before and after training. Each is one subcommand:

    python tools/visualize.py edges CONFIG --operators gaussian_sobel structure_tensor
    python tools/visualize.py masks CONFIG --policies random edge_stratified
    python tools/visualize.py reconstruction CONFIG CHECKPOINT_OR_WORK_DIR --images FILE_OR_FOLDER
    python tools/visualize.py features CONFIG --backbone scratch --backbone dapt=work_dirs/egmim_dapt_dubai --stages 3
    python tools/visualize.py data CONFIG
"""
import argparse

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm.pictures.commands import COMMANDS  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    COMMANDS.add_to(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    # here: --help must not wait for torch
    from mmengine.logging import MMLogger

    from egmim_mm.engine.errors import user_errors
    # one line per parameter from init_weights would bury the result; warnings still show
    MMLogger.get_instance('visualize', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        args.run(args)


if __name__ == '__main__':
    main()
