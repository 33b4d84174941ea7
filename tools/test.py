#!/usr/bin/env python
"""Test a segmentation checkpoint: mIoU and per-class figures, written to results.json."""
import argparse
from pathlib import Path

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm.checkpoints import resolve_source  # noqa: E402
from egmim_mm.checkpoints.sources import is_url  # noqa: E402
from egmim_mm.checks import LaunchError, check_testing  # noqa: E402
from egmim_mm.engine.console_runner import ConsoleRunner  # noqa: E402
from egmim_mm.engine.device import adapt_to_device  # noqa: E402
from egmim_mm.engine.errors import user_errors  # noqa: E402
from egmim_mm.engine.launch import load_config, parse_run_args  # noqa: E402
from egmim_mm.engine.work_dir_lock import sole_run  # noqa: E402
from egmim_mm.subcommands import add_dev  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, work dir or address')
    parser.add_argument('--work-dir', help='where results.json goes; default: the folder of the checkpoint, '
                        'work_dirs/<config name> for an address')
    parser.add_argument('--out', metavar='DIR', help='save the predicted class maps as PNG files')
    parser.add_argument('--show-dir', metavar='DIR', help='save sheets of image, truth, prediction and errors, '
                        'the worst images first')
    parser.add_argument('--show-num', type=int, default=50, metavar='N',
                        help='most sheets in --show-dir (default: %(default)s)')
    parser.add_argument('--tta', action='store_true', help='average over flips (the config must define tta_model)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='unpickle everything in the checkpoint; this can run code of its author')
    add_dev(parser)
    return parse_run_args(parser)


def main() -> None:
    args = parse_args()
    with user_errors('Interrupted: the test is not finished, give the same command again'):
        checkpoint = resolve_source(args.checkpoint)
        beside = None if is_url(args.checkpoint) else str(Path(checkpoint).parent)
        # what is trusted may run code when it is read: once is enough
        cfg = load_config(args.config, args.work_dir or beside, args.cfg_options, args.dev,
                          trained=None if args.trust_checkpoint else checkpoint)
        cfg.load_from = str(checkpoint)
        cfg.trust_checkpoint = args.trust_checkpoint
        check_testing(cfg)
        adapt_to_device(cfg, args.launcher)
        if args.out:
            evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
            evaluators[0].output_dir = args.out
        if args.show_dir:
            sheets = dict(type='egmim_mm.PredictionSheetsHook', out_dir=args.show_dir, num=args.show_num)
            cfg.custom_hooks = [*cfg.get('custom_hooks', []), sheets]
        if args.tta:
            if 'tta_model' not in cfg:
                raise LaunchError(f'--tta: {args.config} defines no tta_model and tta_pipeline')
            cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
            cfg.model = dict(cfg.tta_model, module=cfg.model)
        with sole_run(cfg.work_dir, args.launcher):
            ConsoleRunner.from_cfg(cfg).test()


if __name__ == '__main__':
    main()
