"""Timings that can be compared on a machine that does other things too: interleaved rounds, paired ratios."""
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from egmim_mm.engine.freed_memory import keep_freed_memory

__all__ = ['Clock', 'PartTimer', 'device_clock', 'interleaved', 'keep_freed_memory', 'paired_ratio', 'peak_memory',
           'resident_memory']

Clock = Callable[[], float]

def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes; it includes mapped files.

    On Linux from /proc, because getrusage's also counts what the process was forked from.
    """
    return _linux_memory('VmHWM') or (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss *
                                      (1 if sys.platform == 'darwin' else 1024))


def resident_memory() -> int:
    """Resident memory of this process now, bytes; where /proc does not say, the largest so far."""
    return _linux_memory('VmRSS') or peak_memory()


def _linux_memory(key: str) -> int | None:
    status = Path('/proc/self/status')
    if not status.exists():
        return None
    lines = dict(line.split(':', 1) for line in status.read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


def device_clock(device: torch.device) -> tuple[str, Clock]:
    """The clock to time work on a device with, and what it counts.

    Returns:
        A name and a function that returns seconds from an arbitrary start. On a GPU it first waits until the device
        has finished what it was given. One CPU thread is timed by the CPU time of this process, to which other
        processes add nothing; several threads by the wall clock.
    """
    if device.type == 'cuda':

        def read() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return 'wall clock, synchronised', read
    if torch.get_num_threads() == 1:
        return 'CPU time of the process', time.process_time
    return 'wall clock', time.perf_counter


def interleaved(steps: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 1,
                clock: Clock = time.perf_counter) -> dict[str, list[float]]:
    """Time several steps in turn: each once a round, in an order that is reversed every other round.

    What slows the machine down for a while hits all of them alike, and none is always the one that follows
    a certain other.

    Args:
        steps: Name -> function to time.
        rounds: Timings of each.
        warmup: Rounds before these, not timed.
        clock: Function that returns seconds.

    Returns:
        Name -> seconds of each round.
    """
    for _ in range(warmup):
        for step in steps.values():
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds):
        for name in list(steps)[::-1 if round_number % 2 else 1]:
            start = clock()
            steps[name]()
            seconds[name].append(clock() - start)
    return seconds


def paired_ratio(seconds: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """Median over rounds of seconds / baseline, with its 95 % bootstrap interval.

    Args:
        seconds, baseline: Of the same rounds, at least two.

    Returns:
        ``median``, ``low`` and ``high``.

    Raises:
        ValueError: Fewer than two rounds, or different numbers of them.
    """
    if len(seconds) != len(baseline) or len(seconds) < 2:
        raise ValueError(f'paired timings need the same number of rounds, at least 2: got {len(seconds)} and '
                         f'{len(baseline)}')
    ratios = np.asarray(seconds) / np.asarray(baseline)
    interval = stats.bootstrap((ratios, ), np.median, method='percentile',
                               random_state=np.random.default_rng(0)).confidence_interval
    return dict(median=float(np.median(ratios)), low=float(interval.low), high=float(interval.high))


class PartTimer:
    """How long the parts of a step take; the time of a part inside another counts for the inner one alone.

    Attributes:
        seconds: Name -> sum so far. The sums of all parts make up the time of the outermost one.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside the ``with`` block."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def wrap(self, name: str, function: Callable) -> Callable:
        """The same function, timed as part ``name``."""

        def timed(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        return timed

    def _switch(self) -> None:
        now = self._clock()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
