#!/usr/bin/env python
"""Make maps: the class of every pixel of rasters of any size, as GeoTIFF files in the same place.

    python tools/predict.py CONFIG CHECKPOINT imagery/*.tif --out maps
    python tools/predict.py model.onnx imagery/*.tif --out maps
    torchrun --nproc_per_node 4 tools/predict.py CONFIG CHECKPOINT imagery --out maps --resume
"""
import argparse
import json
import os
import sys
from datetime import timedelta

from egmim_mm.environment import quiet_imports

quiet_imports()

import torch  # noqa: E402
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from rasterio.errors import RasterioError  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from torch import distributed  # noqa: E402

from egmim_mm.datasets.band_scaling import load_scaling  # noqa: E402
from egmim_mm.datasets.tile_reading import TileReadError  # noqa: E402
from egmim_mm.engine.launch import LaunchError, user_errors  # noqa: E402
from egmim_mm.inference import OnnxSegmenter, Segmenter, predict_raster  # noqa: E402
from egmim_mm.inference.folders import Job, plan_jobs, share  # noqa: E402
from egmim_mm.inference.pixel_classifier import PixelClassifier  # noqa: E402
from egmim_mm.inference.raster_map import read_settings  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s (CONFIG CHECKPOINT | MODEL.onnx) INPUT [INPUT ...] --out DIR [options]')
    parser.add_argument('config', help='config of the fine-tuning run, or a file of tools/export_onnx.py')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file, work dir or address; none with an ONNX file')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='rasters, or folders of them')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder of the maps')
    parser.add_argument('--window', type=int, help="side of a window, px (default: the crop of the config's slide "
                        'inference)')
    parser.add_argument('--overlap', type=float, default=0.25,
                        help='share of a window that its neighbour covers too (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=8, help='windows at once (default: %(default)s)')
    parser.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    parser.add_argument('--scaling', metavar='FILE', help='of tools/measure_bands.py, for samples that are not 8-bit')
    parser.add_argument('--probabilities', action='store_true', help='also NAME_probabilities.tif, a band per class')
    parser.add_argument('--confidence', action='store_true', help='also NAME_confidence.tif')
    parser.add_argument('--tta', action='store_true', help='average over mirror images; three times the time')
    again = parser.add_mutually_exclusive_group()
    again.add_argument('--resume', action='store_true', help='leave maps that are there, and made in the same way')
    again.add_argument('--overwrite', action='store_true', help='replace maps that are there')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='unpickle everything in the checkpoint; this can run code of its author')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    args = parser.parse_intermixed_args()
    if args.config.endswith('.onnx'):  # what stood in the place of the checkpoint is the first of the inputs
        args.inputs = [path for path in (args.checkpoint, *args.inputs) if path]
        args.checkpoint = None
        for option in ('cfg_options', 'trust_checkpoint'):
            if getattr(args, option):
                parser.error(f'--{option.replace("_", "-")} is about a config and its checkpoint; {args.config} has '
                             'neither')
    elif args.checkpoint is None:
        parser.error('the following arguments are required: CONFIG, CHECKPOINT and INPUT')
    return args


def load_model(args: argparse.Namespace) -> PixelClassifier:
    """The model, on --device, or on the GPU of this process."""
    device = args.device
    if device is None and torch.cuda.is_available():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    if args.config.endswith('.onnx'):  # without --device on the current GPU, but onnxruntime may be a build for CPUs
        return OnnxSegmenter(args.config, args.device, args.tta)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    return Segmenter(cfg, args.checkpoint, device, args.tta, args.trust_checkpoint)


def output_paths(args: argparse.Namespace, job: Job) -> dict:
    """Paths by keyword of predict_raster."""
    wanted = [kind for kind in ('probabilities', 'confidence') if getattr(args, kind)]
    return dict(target=job.target, **{kind: job.target.with_name(f'{job.target.stem}_{kind}.tif') for kind in wanted})


def left_to_do(args: argparse.Namespace, jobs: list[Job], settings: str) -> list[Job]:
    """The jobs without those whose maps are there.

    Raises:
        LaunchError: Maps are there, and neither --resume nor --overwrite is given.
    """
    there = [job for job in jobs if any(path.exists() for path in output_paths(args, job).values())]
    if there and not (args.resume or args.overwrite):
        raise LaunchError(f'{there[0].target} and {len(there) - 1} more are there: --resume keeps maps that were made '
                          'in the same way and makes the others, --overwrite makes all')
    if args.overwrite:
        return jobs
    return [job for job in jobs if any(read_settings(path) != settings for path in output_paths(args, job).values())]


def predict(args: argparse.Namespace, segmenter: PixelClassifier, jobs: list[Job], settings: str,
            show: bool) -> list[str]:
    """Make the maps one after another; what went wrong with a raster, and its name, comes back."""
    scaling = load_scaling(args.scaling) if args.scaling else None
    failed = []
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TextColumn('windows'),
                  TimeRemainingColumn(), console=Console(stderr=True), disable=not show) as progress:
        task = progress.add_task('', total=sum(job.windows for job in jobs))
        before = 0
        for number, job in enumerate(jobs, 1):
            progress.update(task, description=f'{number}/{len(jobs)} {job.source.name}', completed=before)
            try:
                predict_raster(segmenter, job.source, window=args.window, overlap=args.overlap, batch=args.batch,
                               bands=args.bands, scaling=scaling, settings=settings,
                               on_windows=lambda count: progress.advance(task, count), **output_paths(args, job))
            except (TileReadError, RasterioError, OSError) as error:
                failed.append(str(error) if str(job.source) in str(error) else f'{job.source}: {error}')
                progress.console.print(f'Failed: {failed[-1]}', soft_wrap=True, markup=False, highlight=False)
            except torch.OutOfMemoryError as error:
                raise LaunchError(f'not enough memory on {segmenter.device} for --batch {args.batch}: give a smaller '
                                  'one') from error
            before += job.windows
        progress.update(task, completed=before)
    return failed


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('predict', logger_name='mmengine', log_level='WARNING')
    rank, processes = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    with user_errors():
        segmenter = load_model(args)
        args.window = args.window or segmenter.window
        segmenter.check_window(args.window, args.overlap)
        if args.batch < 1:
            raise LaunchError(f'--batch {args.batch} must be at least 1')
        planned = plan_jobs(args.inputs, args.out, args.window, args.overlap)
        settings = json.dumps(dict(weights=segmenter.weights_sha256, classes=segmenter.classes, window=args.window,
                                   overlap=args.overlap, tta=args.tta, bands=args.bands,
                                   scaling=load_scaling(args.scaling).__dict__ if args.scaling else None))
        jobs = left_to_do(args, planned, settings)
        if processes > 1:  # all know what is to do before one begins to write, and none ends before the last
            distributed.init_process_group('gloo', timeout=timedelta(days=30))
            distributed.barrier()
        failed = predict(args, segmenter, share(jobs, processes)[rank], settings, show=rank == 0)
        if processes > 1:
            everywhere = [None] * processes
            distributed.all_gather_object(everywhere, failed)
            failed = [text for texts in everywhere for text in texts]
            distributed.destroy_process_group()
    if rank == 0:
        print(f'{len(jobs) - len(failed)} maps in {args.out}, {len(planned) - len(jobs)} were there, '
              f'{len(failed)} failed')
        for text in failed:
            print(f'Failed: {text}')
    if failed:
        sys.exit(1)


if __name__ == '__main__':
    main()
