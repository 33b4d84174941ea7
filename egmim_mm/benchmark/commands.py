"""The subcommands of ``tools/benchmark.py``; heavy imports stand in the runs, so that ``--help`` is fast."""
import argparse
from pathlib import Path

from egmim_mm.subcommands import Subcommands, add_cfg_options, add_device, read_config

__all__ = ['COMMANDS']

COMMANDS = Subcommands()


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='pretraining config with an EGMIM model')
    parser.add_argument('--batch', type=int, help="images of a step (default: the config's batch size, or 16)")
    parser.add_argument('--size', type=int, help="side of the images in pixels (default: the backbone's img_size)")
    parser.add_argument('--steps', type=int, default=20, help='timed steps of each (default: %(default)s)')
    parser.add_argument('--amp', action='store_true', help='bfloat16 mixed precision (ignored without a GPU)')
    parser.add_argument('--profile', action='store_true', help='also time the parts of a step')
    add_device(parser)
    parser.add_argument('--out', help='folder of pretrain.json (default: work_dirs/benchmark/<config name>)')
    add_cfg_options(parser)


@COMMANDS.register('pretrain', _pretrain_options,
                   help='training step of EGMIM against stock SimMIM with the same backbone',
                   description="Time EGMIM's training step against that of MMPretrain's SimMIM with the same "
                   'backbone, batch, precision and optimiser, in turn, and print the ratio.')
def _pretrain(args: argparse.Namespace) -> None:
    from .pretrain import compare_steps, print_comparison
    from .timing import keep_freed_memory
    keep_freed_memory()
    out_dir = args.out or f'work_dirs/benchmark/{Path(args.config).stem}'
    print_comparison(compare_steps(read_config(args), out_dir, args.batch, args.size, args.steps, args.amp,
                                   args.device, args.profile))
    print(f'wrote {out_dir}/pretrain.json')


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=int, default=10_000, help='side of the raster in px (default: %(default)s)')
    parser.add_argument('--crop', type=int, default=224, help='(default: %(default)s)')
    parser.add_argument('--crops', type=int, default=2000, help='(default: %(default)s)')
    parser.add_argument('--rotate', action='store_true', help='turn the crops of the raster by any angle')
    parser.add_argument('--out', default='work_dirs/benchmark/data', help='folder of data.json (default: %(default)s)')


@COMMANDS.register('data', _data_options, help='random crops of a decoded raster against PNG tiles',
                   description='Make a raster of synthetic scenes, decode it once as RasterCrops does, and time random '
                   "crops of it against loading 512-px PNG tiles with mmcv's loader, in turn.")
def _data(args: argparse.Namespace) -> None:
    import torch

    from .crops import compare_loading, print_loading
    torch.set_num_threads(1)  # CPU time can then be measured, which other processes do not distort
    print_loading(compare_loading(args.out, args.size, args.crop, args.crops, rotate=args.rotate))
    print(f'wrote {args.out}/data.json')


def _start_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--files', type=int, default=1_000_000, help='images in folders (default: %(default)s)')
    parser.add_argument('--shards', type=int, default=100, help='tar archives of 1000 images (default: %(default)s)')
    parser.add_argument('--folder', help='where the temporary files go (default: that of the system)')
    parser.add_argument('--out', default='work_dirs/benchmark/start',
                        help='folder of start.json (default: %(default)s)')


@COMMANDS.register('start', _start_options, help='how long UnlabeledTiles takes to list a large corpus',
                   description='Make tiny images in a temporary folder, and the same kind of images in tar shards, and '
                   'time the first and the second start of UnlabeledTiles on both.')
def _start(args: argparse.Namespace) -> None:
    from .start import measure_starts, print_starts
    print_starts(measure_starts(args.out, args.files, args.shards, args.folder))
    print(f'wrote {args.out}/start.json')


def _predict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config of the fine-tuning run')
    parser.add_argument('checkpoint', help='checkpoint file, work dir or address')
    parser.add_argument('--test-data', action='store_true',
                        help="the config's test tiles (default: synthetic scenes with the classes of the quickstart)")
    parser.add_argument('--tiles', type=int, default=2, metavar='N', help='number of tiles (default: %(default)s)')
    parser.add_argument('--size', type=int, default=2048, metavar='PX',
                        help='side of the synthetic scenes (default: %(default)s)')
    parser.add_argument('--window', type=int, default=512, metavar='PX', help='(default: %(default)s)')
    parser.add_argument('--overlap', type=float, default=0.25, help='of our windows (default: %(default)s)')
    parser.add_argument('--batch', type=int, help='our windows at once (default: 8 on a GPU, 1 on a CPU)')
    parser.add_argument('--rounds', type=int, default=5, help='timings of each way (default: %(default)s)')
    add_device(parser)
    parser.add_argument('--out', default='work_dirs/benchmark/predict',
                        help='folder of predict.json (default: %(default)s)')
    add_cfg_options(parser)


@COMMANDS.register('predict', _predict_options, help="our maps against MMSegmentation's slide inference",
                   description="Time our prediction against MMSegmentation's slide inference with the same model, "
                   'tiles and windows, in turn, with the mIoU of both. The stride of its crops is two thirds of the '
                   'window.')
def _predict(args: argparse.Namespace) -> None:
    import torch

    from egmim_mm.inference import Segmenter

    from .predict import compare_predictions, print_predictions, synthetic_tiles, test_tiles
    torch.set_num_threads(1)  # CPU time can then be measured, which other processes do not distort
    cfg = read_config(args)
    segmenter = Segmenter(cfg, args.checkpoint, args.device)
    tiles = list(test_tiles(cfg, args.tiles)) if args.test_data else synthetic_tiles(
        args.tiles, args.size, segmenter.classes)
    print_predictions(compare_predictions(segmenter, tiles, args.out, args.window, args.overlap, args.batch,
                                          args.rounds, dict(config=args.config, checkpoint=args.checkpoint)))
    print(f'wrote {args.out}/predict.json')


def _predict_memory_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sizes', type=int, nargs='+', default=[2000, 10_000], metavar='PX',
                        help='sides of the rasters; the first is compared with (default: 2000 10000)')
    parser.add_argument('--window', type=int, default=512, metavar='PX', help='(default: %(default)s)')
    parser.add_argument('--out', default='work_dirs/benchmark/predict_memory',
                        help='folder of predict_memory.json (default: %(default)s)')


@COMMANDS.register('predict-memory', _predict_memory_options,
                   help='peak memory of maps of a small and a large raster',
                   description='Map square rasters of synthetic scenes with a toy model, each in a fresh process on '
                   'the CPU, and print the peak memory of the process.')
def _predict_memory(args: argparse.Namespace) -> None:
    from .predict_memory import compare_memory, print_memory
    print_memory(compare_memory(args.out, args.sizes, args.window))
    print(f'wrote {args.out}/predict_memory.json')
