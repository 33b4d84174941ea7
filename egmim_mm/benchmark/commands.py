"""The subcommands of ``tools/benchmark.py``; heavy imports stand in the runs, so that ``--help`` is fast."""
import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from egmim_mm.subcommands import Subcommands, add_cfg_options, add_device, read_config

__all__ = ['COMMANDS']

COMMANDS = Subcommands()
Measure = Callable[[argparse.Namespace], dict[str, Any]]


def _timing(name: str, configure: Callable[[argparse.ArgumentParser], None], folder: str = '',
            **texts: str) -> Callable[[Measure], Measure]:
    """Decorator of a subcommand that prints a table and returns what is written as JSON in the folder ``--out``.

    Args:
        name: Of the subcommand, and of the file.
        configure: Adds its other options.
        folder: In work_dirs/benchmark, the default of ``--out``; otherwise that of the name.
        **texts: See :meth:`Subcommands.register_report`.
    """
    file = f'{name.replace("-", "_")}.json'

    def keep(measure: Measure) -> Measure:

        @COMMANDS.register_report(name, configure, file, f'work_dirs/benchmark/{folder or Path(file).stem}', **texts)
        def run(args: argparse.Namespace) -> None:
            from egmim_mm.records.provenance import git_state, package_versions, write_json
            document = measure(args)
            write_json(Path(args.out, file), dict(document, versions=package_versions(), git=git_state()))

        return measure

    return keep


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='pretraining config with an EGMIM model')
    parser.add_argument('--batch', type=int, help="images of a step (default: the config's batch size, or 16)")
    parser.add_argument('--size', type=int, help="side of the images in pixels (default: the backbone's img_size)")
    parser.add_argument('--steps', type=int, default=20, help='timed steps of each (default: %(default)s)')
    parser.add_argument('--amp', action='store_true', help='bfloat16 mixed precision (ignored without a GPU)')
    parser.add_argument('--profile', action='store_true', help='also time the parts of a step')
    add_device(parser)
    add_cfg_options(parser)


@_timing('pretrain', _pretrain_options, folder='<config name>',
         help='training step of EGMIM against stock SimMIM with the same backbone',
         description="Time EGMIM's training step against that of MMPretrain's SimMIM with the same "
         'backbone, batch, precision and optimiser, in turn, and print the ratio.')
def _pretrain(args: argparse.Namespace) -> dict[str, Any]:
    from .pretrain import compare_steps, print_comparison
    from .timing import keep_freed_memory
    keep_freed_memory()
    document = compare_steps(read_config(args), args.batch, args.size, args.steps, args.amp, args.device, args.profile)
    print_comparison(document)
    return document


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=int, default=10_000, help='side of the raster in px (default: %(default)s)')
    parser.add_argument('--crop', type=int, default=224, help='(default: %(default)s)')
    parser.add_argument('--crops', type=int, default=2000, help='(default: %(default)s)')
    parser.add_argument('--rotate', action='store_true', help='turn the crops of the raster by any angle')


@_timing('data', _data_options, help='random crops of a decoded raster against PNG tiles',
         description='Make a raster of synthetic scenes, decode it once as RasterCrops does, and time random '
         "crops of it against loading 512-px PNG tiles with mmcv's loader, in turn.")
def _data(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from .crops import compare_loading, print_loading
    torch.set_num_threads(1)  # CPU time can then be measured, which other processes do not distort
    document = compare_loading(args.size, args.crop, args.crops, rotate=args.rotate)
    print_loading(document)
    return document


def _start_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--files', type=int, default=1_000_000, help='images in folders (default: %(default)s)')
    parser.add_argument('--shards', type=int, default=100, help='tar archives of 1000 images (default: %(default)s)')
    parser.add_argument('--folder', help='where the temporary files go (default: that of the system)')


@_timing('start', _start_options, help='how long UnlabeledTiles takes to list a large corpus',
         description='Make tiny images in a temporary folder, and the same kind of images in tar shards, and '
         'time the first and the second start of UnlabeledTiles on both.')
def _start(args: argparse.Namespace) -> dict[str, Any]:
    from .start import measure_starts, print_starts
    document = measure_starts(args.files, args.shards, args.folder)
    print_starts(document)
    return document


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
    add_cfg_options(parser)


@_timing('predict', _predict_options, help="our maps against MMSegmentation's slide inference",
         description="Time our prediction against MMSegmentation's slide inference with the same model, "
         'tiles and windows, in turn, with the mIoU of both. The stride of its crops is two thirds of the '
         'window.')
def _predict(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from egmim_mm.inference import Segmenter

    from .predict import compare_predictions, print_predictions, synthetic_tiles, test_tiles
    torch.set_num_threads(1)  # CPU time can then be measured, which other processes do not distort
    cfg = read_config(args)
    segmenter = Segmenter(cfg, args.checkpoint, args.device)
    tiles = list(test_tiles(cfg, args.tiles)) if args.test_data else synthetic_tiles(
        args.tiles, args.size, segmenter.classes)
    document = compare_predictions(segmenter, tiles, args.window, args.overlap, args.batch, args.rounds)
    print_predictions(document)
    return dict(document, config=args.config, checkpoint=args.checkpoint)


def _predict_memory_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sizes', type=int, nargs='+', default=[2000, 10_000], metavar='PX',
                        help='sides of the rasters; the first is compared with (default: 2000 10000)')
    parser.add_argument('--window', type=int, default=512, metavar='PX', help='(default: %(default)s)')


@_timing('predict-memory', _predict_memory_options,
         help='peak memory of maps of a small and a large raster',
         description='Map square rasters of synthetic scenes with a toy model, each in a fresh process on '
         'the CPU, and print the peak memory of the process.')
def _predict_memory(args: argparse.Namespace) -> dict[str, Any]:
    from .predict_memory import compare_memory, print_memory
    document = compare_memory(args.sizes, args.window)
    print_memory(document)
    return document


def _wait_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--workers', type=int, default=2, help='loader processes (default: %(default)s)')
    parser.add_argument('--tiles', type=int, nargs='+', default=[512, 1024], metavar='PX',
                        help='sides of the tiles (default: 512 1024)')
    parser.add_argument('--rounds', type=int, default=2, help='runs of each (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=12, help='timed steps of a run (default: %(default)s)')
    parser.add_argument('--toy', action='store_true', help='a tiny model on tiles of 128 px')


@_timing('wait', _wait_options, help='share of a training in which it waits for data',
         description='Run short trainings of the nano models with 128-px crops of large tiles, ours and the '
         "stock toolchain's in turn, and print how much of their time they wait for their loaders.")
def _wait(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from .data_wait import wait_rows
    from .rows import print_rows
    rows = wait_rows(args.workers, args.rounds, args.steps, tuple(args.tiles), args.toy)
    return print_rows(rows, torch.device('cpu'), torch.get_num_threads())


def _boundary_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=int, default=1024, metavar='PX',
                        help='side of the images (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='timings of each (default: %(default)s)')
    parser.add_argument('--threads', type=int, help='threads of the metric (default: one for each core)')


@_timing('boundaries', _boundary_options, help='boundary metrics of an image',
         description='Time the counts of boundary IoU and boundary F1 of an image of seven classes against '
         'a filter for each class and width, and those of several images in threads.')
def _boundaries(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from egmim_mm.cores import cores_per_process

    from .boundary import boundary_rows
    from .rows import print_rows
    threads = args.threads or cores_per_process()
    return print_rows(boundary_rows(args.size, args.rounds, threads), torch.device('cpu'), threads)
