"""Compare the training steps of EGMIM and of stock SimMIM as a pretraining config describes them."""
from typing import Any

import numpy as np
from mmengine.config import Config

from egmim_mm.checks import shares_of
from egmim_mm.records.provenance import device_description
from egmim_mm.records.tables import print_table

from .machine import check_device
from .pretrain_step import TrainingStep, build_steps
from .timing import Clock, PartTimer, device_clock, interleaved, paired_ratio

STOCK = 'MMPretrain SimMIM'
WARMUP = 3  # rounds; the first steps allocate memory and choose kernels


def compare_steps(cfg: Config,
                  batch: int | None = None,
                  size: int | None = None,
                  rounds: int = 20,
                  amp: bool = False,
                  device: str | None = None,
                  profile: bool = False) -> dict[str, Any]:
    """Time the steps in turn.

    Args:
        cfg: Config with an EGMIM model; its schedule and data are not used.
        batch: Images of a step; by default those that one process computes at once by the config, or 16.
        size: Side of the images, px; the backbone's ``img_size`` by default.
        rounds: Timed steps of each.
        amp: bfloat16 autocast; without a GPU everything is float32.
        device: Default: a GPU if there is one.
        profile: Also time the parts of as many more steps.

    Returns:
        ``rows`` (name -> seconds, ratio, ...), ``profile`` (name -> part -> seconds) and settings.

    Raises:
        ValueError: Not an EGMIM config, or numbers that do not fit.
    """
    if rounds < 2:
        raise ValueError(f'--steps {rounds}: an interval needs at least 2 steps')
    chosen = check_device(device)
    amp = amp and chosen.type == 'cuda'
    shares = shares_of(cfg, 1)
    batch = batch or (shares.images if shares else cfg.get('train_dataloader', {}).get('batch_size', 16))
    steps = build_steps(cfg, batch, size, amp, chosen)
    clock_name, clock = device_clock(chosen)
    seconds = interleaved(steps, rounds, WARMUP, clock)
    rows = {}
    for name, step in steps.items():
        rows[name] = dict(
            seconds=float(np.median(seconds[name])),
            images_per_s=batch / float(np.median(seconds[name])),
            ratio=paired_ratio(seconds[name], seconds[STOCK]),
            parameters=step.parameters(),
            backbone_parameters=step.parameters('backbone.'),
            peak_memory_bytes=step.peak_memory(chosen) if chosen.type == 'cuda' else None,
            seconds_each=seconds[name])
    document = dict(
        benchmark='pretrain', config=cfg.filename, batch=batch, size=steps[STOCK].batch['inputs'].shape[-1],
        rounds=rounds, warmup=WARMUP, precision='bfloat16' if amp else 'float32', clock=clock_name,
        baseline=STOCK,
        units='seconds: median of the rounds; ratio: median of the paired ratios and its 95 % bootstrap interval',
        rows=rows, device=device_description(chosen))
    if profile:
        document['profile'] = profile_steps(steps, rounds, clock)
    return document


def profile_steps(steps: dict[str, TrainingStep], rounds: int, clock: Clock) -> dict[str, dict[str, float]]:
    """Name -> part -> mean seconds in a step. On a GPU every part waits for the device, so the sum is larger."""
    timers = {name: PartTimer(clock) for name in steps}

    def timed(name: str) -> None:
        with steps[name].timed(timers[name]):
            steps[name]()

    interleaved({name: lambda name=name: timed(name) for name in steps}, rounds, warmup=0)
    return {name: {part: value / rounds for part, value in timer.seconds.items()} for name, timer in timers.items()}


def print_comparison(document: dict[str, Any]) -> None:
    """Print one line for each step, and if it was profiled one for each part."""
    device = document['device']
    cells = []
    for name, row in document['rows'].items():
        ratio, memory = row['ratio'], row['peak_memory_bytes']
        cells.append((name, f'{1000 * row["seconds"]:.1f}', f'{row["images_per_s"]:.1f}', f'{ratio["median"]:.3f}',
                      f'{ratio["low"]:.3f} - {ratio["high"]:.3f}', f'{row["parameters"] / 1e6:.2f} M',
                      'not measured' if memory is None else f'{memory / 2**20:.0f} MiB'))
    print_table(
        ('step', ), ('ms', 'images/s', 'x SimMIM', '95 % interval', 'parameters', 'peak memory'), cells,
        title=f'Training step: batch {document["batch"]}, {document["size"]} px, {document["precision"]}, '
        f'{device["type"]} {device["name"]}, {device["threads"]} CPU thread(s); {document["clock"]}')
    if 'profile' not in document:
        return
    profile = document['profile']
    parts = {part: None for times in profile.values() for part in times}  # in the order in which they were met
    totals = {name: sum(times.values()) for name, times in profile.items()}
    cells = [(part, *(f'{1000 * times[part]:.1f} ({times[part] / totals[name]:.0%})' if part in times else '-'
                      for name, times in profile.items())) for part in sorted(parts, key='other'.__eq__)]
    cells += [None, ('step', *(f'{1000 * total:.1f}' for total in totals.values()))]
    print_table(('part', ), tuple(profile), cells, title='Parts of a step, ms (share)')
