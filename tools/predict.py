#!/usr/bin/env python
"""Make maps: the class of every pixel of rasters of any size, as GeoTIFF files in the same place.

    python tools/predict.py CONFIG CHECKPOINT imagery/*.tif --out maps
    python tools/predict.py model.onnx imagery/*.tif --out maps
    torchrun --nproc_per_node 4 tools/predict.py CONFIG CHECKPOINT imagery --out maps --resume --polygons
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
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from torch import distributed  # noqa: E402

from egmim_mm.engine.errors import LaunchError, user_errors  # noqa: E402
from egmim_mm.inference import OnnxSegmenter, Segmenter  # noqa: E402
from egmim_mm.inference.folders import Job, plan_jobs  # noqa: E402
from egmim_mm.inference.pixel_classifier import PixelClassifier  # noqa: E402
from egmim_mm.inference.run import Watch, check_outputs, is_current, make_maps, output_paths  # noqa: E402
from egmim_mm.inference.segmenter import usual_batch  # noqa: E402
from egmim_mm.storage.band_scaling import load_scaling  # noqa: E402


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
    parser.add_argument('--batch', type=int, help='windows at once (default: 8 on a GPU, 1 on a CPU)')
    parser.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    parser.add_argument('--scaling', metavar='FILE', help='of tools/measure_bands.py, for samples that are not 8-bit')
    parser.add_argument('--probabilities', action='store_true', help='also NAME_probabilities.tif, a band per class')
    parser.add_argument('--confidence', action='store_true', help='also NAME_confidence.tif')
    parser.add_argument('--polygons', action='store_true', help='also NAME.gpkg, the outlines of the regions')
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


def extras(args: argparse.Namespace) -> list[str]:
    """What is made besides the maps."""
    return [kind for kind in ('probabilities', 'confidence', 'polygons') if getattr(args, kind)]


def left_to_do(args: argparse.Namespace, jobs: list[Job], settings: str) -> list[Job]:
    """The jobs without those whose files are there.

    Raises:
        LaunchError: Files are there, and neither --resume nor --overwrite is given.
    """
    paths = {job.target: output_paths(job, extras(args)).values() for job in jobs}
    there = [path for job in jobs for path in paths[job.target] if path.exists()]
    if there and not (args.resume or args.overwrite):
        raise LaunchError(f'{there[0]} and {len(there) - 1} more are there: --resume keeps maps that were made '
                          'in the same way and makes the others, --overwrite makes all')
    if args.overwrite:
        return jobs
    return [job for job in jobs if not all(is_current(path, settings) for path in paths[job.target])]


class ProgressWatch(Watch):
    """Progress bar in the terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.task = progress, progress.add_task('')

    def planned(self, parts) -> None:
        self.total, self.number, self.before = len(parts), 0, 0
        self.progress.update(self.task, total=sum(part.windows for part in parts))

    def started(self, part) -> None:
        self.number += 1
        self.progress.update(self.task, description=f'{self.number}/{self.total} {part.job.source.name}',
                             completed=self.before)
        self.before += part.windows

    def advanced(self, windows: int) -> None:
        self.progress.advance(self.task, windows)

    def failed(self, message: str) -> None:
        self.progress.console.print(f'Failed: {message}', soft_wrap=True, markup=False, highlight=False)


def predict(args: argparse.Namespace, segmenter: PixelClassifier, jobs: list[Job], settings: str,
            show: bool) -> list[str]:
    """Make the maps; what went wrong with a raster, and its name, comes back."""
    scaling = load_scaling(args.scaling) if args.scaling else None
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TextColumn('windows'),
                  TimeRemainingColumn(), console=Console(stderr=True), disable=not show) as progress:
        try:
            return list(make_maps(
                segmenter, jobs, extras(args), settings, args.resume, ProgressWatch(progress), window=args.window,
                overlap=args.overlap, batch=args.batch, bands=args.bands, scaling=scaling).values())
        except torch.OutOfMemoryError as error:
            raise LaunchError(f'not enough memory on {segmenter.device} for --batch {args.batch}: give a smaller '
                              'one') from error


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('predict', logger_name='mmengine', log_level='WARNING')
    rank, processes = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    with user_errors():
        segmenter = load_model(args)
        args.window = args.window or segmenter.window
        segmenter.check_window(args.window, args.overlap)
        args.batch = usual_batch(segmenter.device) if args.batch is None else args.batch
        if args.batch < 1:
            raise LaunchError(f'--batch {args.batch} must be at least 1')
        planned = plan_jobs(args.inputs, args.out, args.window, args.overlap)
        check_outputs(planned, extras(args))
        settings = json.dumps(dict(weights=segmenter.weights_sha256, classes=segmenter.classes, window=args.window,
                                   overlap=args.overlap, tta=args.tta, bands=args.bands,
                                   scaling=load_scaling(args.scaling).__dict__ if args.scaling else None))
        jobs = left_to_do(args, planned, settings)
        if processes > 1:
            distributed.init_process_group('gloo', timeout=timedelta(days=30))
        failed = predict(args, segmenter, jobs, settings, show=rank == 0)
        if processes > 1:
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
