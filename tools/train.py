#!/usr/bin/env python
"""Train anything this package trains: GPPT, DAPT or fine-tuning, on CPU or GPU."""
import argparse
from functools import partial

from egmim_mm.environment import quiet_imports

quiet_imports()

from mmengine.config import Config  # noqa: E402

from egmim_mm.checks import check_batch, check_labels, check_training  # noqa: E402
from egmim_mm.engine.console_runner import ConsoleRunner  # noqa: E402
from egmim_mm.engine.device import adapt_to_device  # noqa: E402
from egmim_mm.engine.errors import user_errors  # noqa: E402
from egmim_mm.engine.interruption import going_on  # noqa: E402
from egmim_mm.engine.label_presets import tell_preset  # noqa: E402
from egmim_mm.engine.launch import load_config, parse_run_args  # noqa: E402
from egmim_mm.engine.preset_selection import select_preset, tell_selection  # noqa: E402
from egmim_mm.engine.resuming import checkpoint_folder  # noqa: E402
from egmim_mm.engine.starting import start_or_resume, warn_of_random_features  # noqa: E402
from egmim_mm.engine.work_dir_lock import sole_run  # noqa: E402
from egmim_mm.processes import rank_and_size  # noqa: E402
from egmim_mm.subcommands import add_dev  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go; default work_dirs/<config name>')
    parser.add_argument('--resume', nargs='?', const=True, metavar='CKPT',
                        help='go on with the interrupted run in the work dir, or with this checkpoint of it')
    parser.add_argument('--backbone', metavar='CKPT_WORK_DIR_OR_URL',
                        help='start a new run from these backbone weights, of any known library')
    parser.add_argument('--allow-partial', action='store_true',
                        help='accept a --backbone of which less than 99 %% fits')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='unpickle everything in the checkpoint; this can run code of its author')
    parser.add_argument('--amp', action='store_true', help='bfloat16 mixed precision, whatever the config says')
    parser.add_argument('--seed', type=int, help='seed of initialisation, data order, augmentation and masks')
    parser.add_argument('--budget', metavar='N|P%', help='segmentation: how many tiles are labelled; also applies the '
                        'preset for so many (label_presets of the config)')
    parser.add_argument('--preset', metavar='NAME', help="with --budget: another preset; 'none': only choose the tiles")
    parser.add_argument('--select', choices=['cv'], help='with --budget: its best preset on left-out labelled tiles')
    add_dev(parser)
    return parse_run_args(parser)


def settle(cfg: Config, args: argparse.Namespace, resume: bool | str | None) -> str | None:
    """Make a config ready to run; what there is to say if it is finished already."""
    check_training(cfg)
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness', {}), seed=args.seed)
    adapt_to_device(cfg, args.launcher, args.amp)
    check_batch(cfg)
    return start_or_resume(cfg, resume, args.backbone, args.allow_partial, args.trust_checkpoint)


def main() -> None:
    args = parse_args()
    with user_errors():
        load = partial(load_config, args.config, args.work_dir, args.cfg_options, args.dev, args.budget)
        cfg = load(args.preset, select=args.select)
        with sole_run(cfg.work_dir, args.launcher), going_on(checkpoint_folder(cfg)):
            if args.select:
                cfg = select_preset(load, lambda own: settle(own, args, None), bool(args.resume))
            finished = settle(cfg, args, args.resume)
            if not finished:
                runner = ConsoleRunner.from_cfg(cfg)
                tell_selection(cfg)
                tell_preset(cfg)
                warn_of_random_features(cfg)
                check_labels((loader := runner.train_dataloader).dataset, loader.sampler)  # warns in the log of the run
                runner.train()
            elif rank_and_size(args.launcher)[0] == 0:
                print(finished)


if __name__ == '__main__':
    main()
