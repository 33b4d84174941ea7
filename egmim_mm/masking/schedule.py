"""Curricula: what of a mask's settings changes over the training, as a pure function of the share that is done."""
from collections.abc import Mapping

from .uniform import UNIFORM_POLICIES

__all__ = ['EMPHASES', 'check_schedule', 'scheduled']

# share of the training that is done -> emphasis on edges, in [0, 1]
EMPHASES = dict(rising=lambda done: done, full=lambda done: 1.0, falling=lambda done: 1.0 - done)


def scheduled(schedule: Mapping, progress: float) -> tuple[float, dict]:
    """Settings of a step.

    Args:
        schedule: Any of ``emphasis``, a name of ``EMPHASES`` ('rising' without it); ``ratio``, (first, last), with a
            straight line between; ``cell_size``, sides in px, each for an equal part of the training.
        progress: Share of the training that is done, in [0, 1].

    Returns:
        Emphasis on edges, which is the ``progress`` of :func:`egmim_mm.masking.sample_mask`, and those of its other
        arguments that change.
    """
    now = {}
    if 'ratio' in schedule:
        first, last = schedule['ratio']
        now['ratio'] = first + (last - first) * progress
    if 'cell_size' in schedule:
        sizes = schedule['cell_size']
        now['cell_size'] = sizes[min(int(progress * len(sizes)), len(sizes) - 1)]
    return EMPHASES[schedule.get('emphasis', 'rising')](progress), now


def check_schedule(schedule: Mapping, policy: str) -> None:
    """Raises:
        ValueError: A schedule that :func:`scheduled` cannot read, or that does not go with the policy.
    """
    if unknown := sorted(set(schedule) - {'emphasis', 'ratio', 'cell_size'}):
        raise ValueError(f'mask_generator.schedule has no {", ".join(unknown)}; it may hold emphasis, ratio, cell_size')
    if schedule.get('emphasis', 'rising') not in EMPHASES:
        raise ValueError(f'mask_generator.schedule.emphasis must be one of {", ".join(EMPHASES)}, got '
                         f'{schedule["emphasis"]!r}')
    if 'ratio' in schedule:
        ratio = schedule['ratio']
        if not isinstance(ratio, (list, tuple)) or len(ratio) != 2 or not all(0 < value < 1 for value in ratio):
            raise ValueError(f'mask_generator.schedule.ratio must be (first, last), both in (0, 1), got {ratio!r}')
        if policy in UNIFORM_POLICIES:
            raise ValueError(f'mask policy {policy} has a fixed ratio: leave ratio out of mask_generator.schedule')
    if 'cell_size' in schedule:
        sizes = schedule['cell_size']
        if not isinstance(sizes, (list, tuple)) or not sizes or not all(isinstance(s, int) and s > 0 for s in sizes):
            raise ValueError(f'mask_generator.schedule.cell_size must be a list of sides in px, got {sizes!r}')
