"""One training run that is timed: iterations with their loader, the step alone, memory and arithmetic."""
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from .timing import Clock, device_clock, interleaved, peak_memory, resident_memory
from .training_configs import build_runner, training_config

__all__ = ['Stopwatch', 'measure', 'step_seconds']


class Stopwatch(Hook):
    """Times the iterations of a run after the first ones, and what of them is waiting for the loader.

    Args:
        warmup: Iterations that are not timed, at least 1.
        clock: Seconds; on a GPU after all that was started has ended.
    """

    priority = 'VERY_LOW'

    def __init__(self, warmup: int, clock: Clock) -> None:
        self.warmup, self.clock = warmup, clock
        self.seconds = self.waited = 0.0
        self.batch: Any = None
        self._since = self._asked = 0.0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter >= self.warmup:
            self.waited += time.perf_counter() - self._asked
        self.batch = data_batch

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        if runner.iter + 1 == self.warmup:
            self._since = self.clock()
        elif runner.iter + 1 == runner.max_iters:
            self.seconds = self.clock() - self._since
        self._asked = time.perf_counter()


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run a training and time it.

    Args:
        job: As for :func:`~egmim_mm.benchmark.training_configs.training_config`, with ``stock``, ``warmup`` and
            ``timed`` (iterations), ``alone`` (timed steps on one batch) and ``count`` (count the arithmetic of a step).

    Returns:
        ``images_per_s`` with the loader, ``alone_images_per_s`` without, ``data_wait`` (share of the time, in [0, 1]),
        ``peak_bytes`` (of the GPU; on a CPU of this process, less what it held after its imports, without the workers
        of its loader), and ``flops`` of a step or None.
    """
    cfg = training_config({**job, 'steps': job['warmup'] + job['timed']}, job['stock'])
    imported = resident_memory()
    clock = device_clock(torch.device('cuda'))[1] if torch.cuda.is_available() else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        runner = build_runner(cfg, folder, job['stock'])
        if not job['stock']:
            _fill_cache(runner)
        stopwatch = Stopwatch(job['warmup'], clock)
        runner.register_hook(stopwatch)
        runner.train()
    alone = step_seconds(runner, stopwatch.batch, job['alone'], clock)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory() - imported
    return dict(
        images_per_s=job['timed'] * job['batch'] / stopwatch.seconds,
        alone_images_per_s=job['batch'] / alone,
        data_wait=stopwatch.waited / stopwatch.seconds,
        peak_bytes=peak,
        flops=_count(runner, stopwatch.batch) if job['count'] else None)


def step_seconds(runner: Runner, batch: Any, steps: int, clock: Clock) -> float:
    """Median seconds of a training step of a run on one batch that is on the device already; one is not timed."""
    batch = runner.model.data_preprocessor.cast_data(batch)
    step = partial(runner.model.train_step, batch, optim_wrapper=runner.optim_wrapper)
    return statistics.median(interleaved(dict(step=step), steps, clock=clock)['step'])


def _count(runner: Runner, batch: Any) -> int:
    """Floating-point operations of the products and convolutions of a step; a multiplication with addition is two."""
    with FlopCounterMode(display=False) as counter:
        runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
    return counter.get_total_flops()


def _fill_cache(runner: Runner) -> None:
    """Look at each tile once: the first pass of a training over its tiles is one of hundreds."""
    # in another process, so that the memory is not counted here
    for _ in DataLoader(runner.train_dataloader.dataset, batch_size=None, num_workers=1):
        continue
