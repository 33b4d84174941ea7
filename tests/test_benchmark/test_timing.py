"""Timings on a fake clock: order, pairs, and where time is booked."""
import resource
import sys

import numpy as np
import pytest
import torch

from egmim_mm.benchmark.timing import PartTimer, device_clock, interleaved, keep_freed_memory, paired_ratio


class FakeClock:
    """Time passes only when a step says so; ``slowness`` multiplies it."""

    def __init__(self):
        self.now, self.slowness, self.calls = 0.0, 1.0, []

    def __call__(self):
        return self.now

    def step(self, name, seconds):

        def run():
            self.calls.append(name)
            self.now += seconds * self.slowness

        return run


def test_each_step_runs_once_a_round_in_alternating_order():
    clock = FakeClock()
    seconds = interleaved({name: clock.step(name, i + 1.0) for i, name in enumerate('abc')}, 3, warmup=2, clock=clock)
    assert ''.join(clock.calls) == 'abcabc' + 'abc' + 'cba' + 'abc'
    assert seconds == dict(a=[1.0] * 3, b=[2.0] * 3, c=[3.0] * 3)


def test_ratio_of_pairs_withstands_what_slows_both_down():
    clock = FakeClock()
    steps = dict(ours=clock.step('ours', 1.2), stock=clock.step('stock', 1.0))
    slow = iter([1, 1, 30, 1, 1, 25, 3, 1, 1, 4, 1])

    def slower():
        clock.slowness = next(slow)
        clock.step('clock', 0.0)()

    seconds = dict(ours=[], stock=[])
    for _ in range(11):
        slower()
        for name, values in interleaved(steps, 1, warmup=0, clock=clock).items():
            seconds[name] += values
    assert np.max(seconds['stock']) == pytest.approx(30)
    assert paired_ratio(seconds['ours'], seconds['stock']) == pytest.approx(dict(median=1.2, low=1.2, high=1.2))


def test_steady_drift_cancels():
    # the machine gets slower by 1 % of the first step with each call: fixed order would always favour the first one
    now, calls = 0.0, 0

    def step():
        nonlocal now, calls
        now, calls = now + 1 + 0.01 * calls, calls + 1

    seconds = interleaved(dict(one=step, other=step), 40, warmup=0, clock=lambda: now)
    ratio = paired_ratio(seconds['one'], seconds['other'])
    assert ratio['median'] == pytest.approx(1, abs=2e-4) and ratio['low'] < 1 < ratio['high']
    assert (np.array(seconds['one'][::2]) < seconds['other'][::2]).all()


def test_median_and_interval():
    rng = np.random.default_rng(1)
    noise = rng.lognormal(0, 0.1, 50)
    ratio = paired_ratio(1.3 * noise, np.ones(50))
    assert ratio['median'] == pytest.approx(1.3 * np.median(noise))
    medians = np.median(rng.choice(1.3 * noise, (20_000, 50)), axis=1)
    np.testing.assert_allclose([ratio['low'], ratio['high']], np.quantile(medians, [0.025, 0.975]), rtol=0.01)
    assert ratio['low'] < ratio['median'] < ratio['high']


@pytest.mark.parametrize('seconds, baseline', [([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), ([], [])])
def test_too_few_or_unpaired_rounds_are_refused(seconds, baseline):
    with pytest.raises(ValueError, match=f'got {len(seconds)} and {len(baseline)}'):
        paired_ratio(seconds, baseline)


def test_time_of_an_inner_part_is_not_counted_twice():
    clock = FakeClock()
    timer = PartTimer(clock)
    inner = timer.wrap('inner', clock.step('inner', 2.0))

    def whole():
        clock.now += 1
        inner()
        clock.now += 0.5
        with timer.part('second'):
            clock.now += 4
            inner()
        return 'result'

    assert timer.wrap('whole', whole)() == 'result'
    assert timer.seconds == dict(whole=1.5, inner=4.0, second=4.0)
    assert sum(timer.seconds.values()) == clock.now
    clock.now += 100  # between two steps nothing is running
    inner()
    assert timer.seconds == dict(whole=1.5, inner=6.0, second=4.0)


def test_part_that_fails_is_closed():
    clock = FakeClock()
    timer = PartTimer(clock)

    def fail():
        clock.now += 3
        raise RuntimeError('broken')

    with timer.part('whole'):
        with pytest.raises(RuntimeError, match='broken'):
            timer.wrap('part', fail)()
        clock.now += 1
    assert timer.seconds == dict(part=3.0, whole=1.0)


@pytest.mark.skipif(sys.platform != 'linux', reason='of glibc')
def test_freed_memory_is_not_paged_in_again():

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            torch.ones(10_000_000)  # 40 MB: 9766 pages of 4 KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    torch.ones(40_000_000)  # leaves room for the smaller ones
    assert min(faults() for _ in range(5)) < 100  # the system may have taken idle pages meanwhile


def test_one_cpu_thread_is_timed_without_other_processes(monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    name, clock = device_clock(torch.device('cpu'))
    assert name == 'CPU time of the process'
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert clock() == pytest.approx(used.ru_utime + used.ru_stime, abs=1)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    assert device_clock(torch.device('cpu'))[0] == 'wall clock'
