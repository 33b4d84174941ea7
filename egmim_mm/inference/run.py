"""Maps of folders of rasters, as a function and as tools/predict.py runs it."""
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import distributed

from egmim_mm.processes import rank_and_size
from egmim_mm.storage.band_scaling import BandScaling, load_scaling
from egmim_mm.storage.rasters import parse_nodata

from .folders import plan_jobs
from .making import make_maps
from .map_job import KINDS, MapJob, check_outputs
from .onnx.segmenter import OnnxSegmenter
from .pixel_classifier import PixelClassifier
from .segmenter import Segmenter, usual_batch

__all__ = ['MapReport', 'load_segmenter', 'map_rasters', 'run_prediction']


class MapReport(NamedTuple):
    """What became of the rasters: how many maps were made and were there, and what went wrong: map -> message."""

    made: int
    kept: int
    failed: dict[Path, str]


def load_segmenter(config: str | Path, checkpoint: str | Path | None = None, device: str | None = None,
                   tta: bool = False, trust_checkpoint: bool = False,
                   cfg_options: dict[str, Any] | None = None) -> PixelClassifier:
    """The model of a config and its checkpoint, or of an ONNX file.

    Args:
        config: Config of the fine-tuning run, or a file of tools/export_onnx.py.
        checkpoint: Checkpoint file, work dir or address; None with an ONNX file.
        device: 'cpu', 'cuda', 'cuda:1', ...; None: a GPU if there is one, of several that of the process's rank.
        tta, trust_checkpoint, cfg_options: See :class:`Segmenter`.
    """
    if str(config).endswith('.onnx'):  # without a device on the current GPU, but onnxruntime may be a build for CPUs
        _choose_gpu(device)
        return OnnxSegmenter(config, device, tta)
    return Segmenter(config, checkpoint, device or _choose_gpu(device), tta, trust_checkpoint, cfg_options)


def _choose_gpu(device: str | None) -> str | None:
    if device is not None or not torch.cuda.is_available():
        return None
    chosen = f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    torch.cuda.set_device(chosen)
    return chosen


def map_rasters(segmenter: PixelClassifier, inputs: Sequence[str | Path], out: str | Path, window: int | None = None,
                overlap: float = 0.25, batch: int | None = None, bands: Sequence[int] | None = None,
                scaling: BandScaling | str | Path | None = None, nodata: float | str | None = None,
                extras: Sequence[str] = (), resume: bool = False, overwrite: bool = False,
                progress: Progress | None = None) -> MapReport:
    """Make the maps of rasters and of folders of them, alone or with the processes of torch.distributed's group.

    Args:
        segmenter: The model.
        inputs: Rasters, or folders of them (subfolders too).
        out: Folder of the maps, named as the rasters.
        window: Side of the windows, px; None: ``window`` of the model.
        overlap: Share of a window that its neighbour covers too, in [0, 0.9].
        batch: Windows at once; None: 8 on a GPU, 1 on a CPU.
        bands: Bands of the files, from 1 on; None: all but alpha.
        scaling: To 8 bits, or the file of tools/measure_bands.py; None: the samples are 8-bit.
        nodata: See :func:`~egmim_mm.storage.rasters.valid_pixels`.
        extras: What is made besides the maps: ``'probabilities'``, ``'confidence'``, ``'polygons'``.
        resume: Leave files that are there and were made with the same weights and settings.
        overwrite: Replace files that are there.
        progress: Shows how this process gets on, and names a raster that fails at once.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: Options out of range, no rasters, two that would have one map, or files that are there.
        KeyboardInterrupt: Ctrl-C; the message says how many maps are complete. What was being made is removed.
    """
    window = window or segmenter.window
    batch = usual_batch(segmenter.device) if batch is None else batch
    segmenter.check_options(window, overlap, batch)
    if isinstance(scaling, (str, Path)):
        scaling = load_scaling(str(scaling))
    settings = json.dumps(dict(weights=segmenter.weights_sha256, classes=segmenter.classes, window=window,
                               overlap=overlap, tta=segmenter.tta, bands=bands, nodata=nodata,
                               scaling=scaling.__dict__ if scaling else None))
    planned = plan_jobs(inputs, out, extras, model_bands=segmenter.bands, window=window, overlap=overlap, bands=bands,
                        scaling=scaling, nodata=nodata, settings=settings)
    check_outputs(planned)
    jobs = _left_to_do(planned, resume, overwrite)
    _make_folder(Path(out))
    try:
        with progress or nullcontext():
            failed = make_maps(segmenter, jobs, batch, progress)
    except torch.OutOfMemoryError as error:
        raise ValueError(f'not enough memory on {segmenter.device} for --batch {batch}: give a smaller one') from error
    except KeyboardInterrupt:
        done = sum(all(map(job.is_current, job.outputs)) for job in planned)
        raise KeyboardInterrupt(
            f'Interrupted: {done} of {len(planned)} maps in {out} are complete; the same command with --resume'
            f'{" in place of --overwrite" if overwrite else ""} makes the others') from None
    return MapReport(len(jobs) - len(failed), len(planned) - len(jobs), failed)


def _left_to_do(jobs: Sequence[MapJob], resume: bool, overwrite: bool) -> list[MapJob]:
    """The jobs without those whose files are there; of those that lack only polygons nothing else is made."""
    there = [path for job in jobs for path in job.outputs if path.exists()]
    if there and not (resume or overwrite):
        more = f' and {len(there) - 1} more are' if there[1:] else ' is'
        raise ValueError(f'{there[0]}{more} there: --resume keeps maps that were made in the same way and makes the '
                         'others, --overwrite makes all')
    if overwrite or not there:
        return list(jobs)
    left = []
    for job in jobs:
        job.only_polygons = all(map(job.is_current, job.rasters.values()))
        if not (job.only_polygons and all(map(job.is_current, job.outputs))):
            left.append(job)
    return left


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file of that name, or no permission
        raise ValueError(f'the maps cannot be written into {out} ({error.strerror}): give another --out') from error


@contextmanager
def _process_group() -> Iterator[None]:
    """That of the processes of torchrun, if there are several; after an error it ends with the process."""
    several = rank_and_size('pytorch')[1] > 1
    if several:
        distributed.init_process_group('gloo', timeout=timedelta(days=30))
    yield
    if several:
        distributed.destroy_process_group()


def run_prediction(config: str, checkpoint: str | None, inputs: Sequence[str], out: str, device: str | None = None,
                   tta: bool = False, trust_checkpoint: bool = False, cfg_options: dict[str, Any] | None = None,
                   nodata: str | None = None, **options) -> None:
    """What tools/predict.py does: load the model, make the maps with a progress bar, and print what became of them.

    Args:
        config, checkpoint, device, tta, trust_checkpoint, cfg_options: See :func:`load_segmenter`.
        inputs, out: See :func:`map_rasters`.
        nodata: See :func:`~egmim_mm.storage.rasters.parse_nodata`.
        options: The others of :func:`map_rasters`; ``probabilities``, ``confidence`` and ``polygons`` as switches.

    Raises:
        ValueError: As :func:`map_rasters`; or some rasters failed: by the first process alone, when all is done.
    """
    is_first = rank_and_size('pytorch')[0] == 0
    extras = [kind for kind in KINDS if options.pop(kind, False)]
    options['nodata'] = parse_nodata(nodata)
    with _process_group():
        segmenter = load_segmenter(config, checkpoint, device, tta, trust_checkpoint, cfg_options)
        bar = Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TextColumn('windows'),
                       TimeRemainingColumn(), console=Console(stderr=True), disable=not is_first)
        report = map_rasters(segmenter, inputs, out, extras=extras, progress=bar, **options)
    if is_first:
        print(f'{_maps(report.made)} made in {out}' + (f', {report.kept} kept' if report.kept else ''), flush=True)
        if report.failed:
            raise ValueError(f'{_maps(len(report.failed))} could not be made: see "Failed" above; --resume keeps the '
                             'others')


def _maps(count: int) -> str:
    return f'{count} map{"" if count == 1 else "s"}'
