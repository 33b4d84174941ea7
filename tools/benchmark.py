#!/usr/bin/env python
"""Speed on this machine. Each measurement is one subcommand:

    python tools/benchmark.py pretrain configs/_base_/models/egmim_swin-tiny.py --batch 64 --amp
    python tools/benchmark.py data
    python tools/benchmark.py start --files 1000000
    python tools/benchmark.py predict configs/quickstart/upernet.py work_dirs/quickstart/seed_0/egmim
    python tools/benchmark.py predict-memory
"""
import argparse

from egmim_mm.environment import quiet_imports


def parse_args(argv=None) -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description='Speed on this machine.')
    commands = parser.add_subparsers(dest='command', required=True)
    command = commands.add_parser(
        'pretrain', help='training step of EGMIM against stock SimMIM with the same backbone',
        description="Time EGMIM's training step against that of MMPretrain's SimMIM with the same backbone, batch, "
        'precision and optimiser, in turn, and print the ratio.')
    command.add_argument('config', help='pretraining config with an EGMIM model')
    command.add_argument('--batch', type=int, help="images of a step (default: the config's batch size, or 16)")
    command.add_argument('--size', type=int, help="side of the images in pixels (default: the backbone's img_size)")
    command.add_argument('--steps', type=int, default=20, help='timed steps of each (default: %(default)s)')
    command.add_argument('--amp', action='store_true', help='bfloat16 mixed precision (ignored without a GPU)')
    command.add_argument('--profile', action='store_true', help='also time the parts of a step')
    command.add_argument('--device', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')
    command.add_argument('--out', help='folder of pretrain.json (default: work_dirs/benchmark/<config name>)')
    command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                         help='override values of the config')
    command = commands.add_parser(
        'data', help='random crops of a decoded raster against PNG tiles',
        description='Make a raster of synthetic scenes, decode it once as RasterCrops does, and time random crops of '
        "it against loading 512-px PNG tiles with mmcv's loader, in turn.")
    command.add_argument('--size', type=int, default=10_000, help='side of the raster in px (default: %(default)s)')
    command.add_argument('--crop', type=int, default=224, help='(default: %(default)s)')
    command.add_argument('--crops', type=int, default=2000, help='(default: %(default)s)')
    command.add_argument('--rotate', action='store_true', help='turn the crops of the raster by any angle')
    command.add_argument('--out', default='work_dirs/benchmark/data', help='folder of data.json (default: %(default)s)')
    command = commands.add_parser(
        'start', help='how long UnlabeledTiles takes to list a large corpus',
        description='Make tiny images in a temporary folder, and the same kind of images in tar shards, and time the '
        'first and the second start of UnlabeledTiles on both.')
    command.add_argument('--files', type=int, default=1_000_000, help='images in folders (default: %(default)s)')
    command.add_argument('--shards', type=int, default=100, help='tar archives of 1000 images (default: %(default)s)')
    command.add_argument('--folder', help='where the temporary files go (default: that of the system)')
    command.add_argument('--out', default='work_dirs/benchmark/start',
                         help='folder of start.json (default: %(default)s)')
    command = commands.add_parser(
        'predict', help="our maps against MMSegmentation's slide inference",
        description="Time our prediction against MMSegmentation's slide inference with the same model, tiles and "
        'windows, in turn, with the mIoU of both. The stride of its crops is two thirds of the window.')
    command.add_argument('config', help='config of the fine-tuning run')
    command.add_argument('checkpoint', help='checkpoint file, work dir or address')
    command.add_argument('--test-data', action='store_true',
                         help="the config's test tiles (default: synthetic scenes with the classes of the quickstart)")
    command.add_argument('--tiles', type=int, default=2, metavar='N', help='number of tiles (default: %(default)s)')
    command.add_argument('--size', type=int, default=2048, metavar='PX',
                         help='side of the synthetic scenes (default: %(default)s)')
    command.add_argument('--window', type=int, default=512, metavar='PX', help='(default: %(default)s)')
    command.add_argument('--overlap', type=float, default=0.25, help='of our windows (default: %(default)s)')
    command.add_argument('--batch', type=int, help='our windows at once (default: 8 on a GPU, 1 on a CPU)')
    command.add_argument('--rounds', type=int, default=5, help='timings of each way (default: %(default)s)')
    command.add_argument('--device', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')
    command.add_argument('--out', default='work_dirs/benchmark/predict',
                         help='folder of predict.json (default: %(default)s)')
    command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                         help='override values of the config')
    command = commands.add_parser(
        'predict-memory', help='peak memory of maps of a small and a large raster',
        description='Map square rasters of synthetic scenes with a toy model, each in a fresh process on the CPU, and '
        'print the peak memory of the process.')
    command.add_argument('--sizes', type=int, nargs='+', default=[2000, 10_000], metavar='PX',
                         help='sides of the rasters; the first is compared with (default: 2000 10000)')
    command.add_argument('--window', type=int, default=512, metavar='PX', help='(default: %(default)s)')
    command.add_argument('--out', default='work_dirs/benchmark/predict_memory',
                         help='folder of predict_memory.json (default: %(default)s)')
    return parser.parse_args(argv)


def run_pretrain(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmengine.config import Config

    from egmim_mm.benchmark.pretrain import compare_steps, print_comparison
    from egmim_mm.benchmark.timing import keep_freed_memory
    keep_freed_memory()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    out_dir = args.out or f'work_dirs/benchmark/{Path(args.config).stem}'
    print_comparison(compare_steps(cfg, out_dir, args.batch, args.size, args.steps, args.amp, args.device,
                                   args.profile))
    print(f'wrote {out_dir}/pretrain.json')


def run_data(args: argparse.Namespace) -> None:
    import torch

    from egmim_mm.benchmark.crops import compare_loading, print_loading
    torch.set_num_threads(1)  # CPU time can then be measured, which other processes do not distort
    print_loading(compare_loading(args.out, args.size, args.crop, args.crops, rotate=args.rotate))
    print(f'wrote {args.out}/data.json')


def run_start(args: argparse.Namespace) -> None:
    from egmim_mm.benchmark.start import measure_starts, print_starts
    print_starts(measure_starts(args.out, args.files, args.shards, args.folder))
    print(f'wrote {args.out}/start.json')


def run_predict(args: argparse.Namespace) -> None:
    import torch
    from mmengine.config import Config

    from egmim_mm.benchmark.predict import compare_predictions, print_predictions, synthetic_tiles, test_tiles
    from egmim_mm.inference import Segmenter
    torch.set_num_threads(1)  # CPU time can then be measured, which other processes do not distort
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    segmenter = Segmenter(cfg, args.checkpoint, args.device)
    tiles = list(test_tiles(cfg, args.tiles)) if args.test_data else synthetic_tiles(
        args.tiles, args.size, segmenter.classes)
    print_predictions(compare_predictions(segmenter, tiles, args.out, args.window, args.overlap, args.batch,
                                          args.rounds, dict(config=args.config, checkpoint=args.checkpoint)))
    print(f'wrote {args.out}/predict.json')


def run_predict_memory(args: argparse.Namespace) -> None:
    from egmim_mm.benchmark.predict_memory import compare_memory, print_memory
    print_memory(compare_memory(args.out, args.sizes, args.window))
    print(f'wrote {args.out}/predict_memory.json')


def main(argv=None) -> None:
    quiet_imports()
    args = parse_args(argv)
    from mmengine.logging import MMLogger

    from egmim_mm.engine.errors import user_errors
    # one line per parameter from init_weights would bury the table; warnings still show
    MMLogger.get_instance('benchmark', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        {'pretrain': run_pretrain, 'data': run_data, 'start': run_start, 'predict': run_predict,
         'predict-memory': run_predict_memory}[args.command](args)


if __name__ == '__main__':
    main()
