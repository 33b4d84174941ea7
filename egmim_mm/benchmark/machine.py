"""What a machine is, and how fast it multiplies matrices: the limit that a training step is held against."""
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import torch

from egmim_mm.precision import choose_precision

from .timing import device_clock, interleaved

__all__ = ['check_device', 'describe_machine', 'measure_products']

SIDE = dict(cpu=2048, cuda=8192)  # of the matrices: large enough that their reading costs nothing beside the products
ROUNDS = 7


def check_device(name: str | None) -> torch.device:
    """The device of that name; without one a GPU, if there is one.

    Raises:
        ValueError: A device that PyTorch does not know or that is not there.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
    except RuntimeError:
        raise ValueError(f"--device '{name}' is unknown: give cpu, cuda or cuda:1") from None
    if device.type not in SIDE:
        raise ValueError(f"--device '{name}': speeds are measured on cpu and cuda")
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device '{name}': this machine has {torch.cuda.device_count()} GPU(s) that PyTorch can use")
    return device


def describe_machine(device: torch.device, threads: int) -> dict[str, Any]:
    """``cpu`` (name), ``cores`` (logical), ``threads`` of a process, ``gpu`` (name or None), ``torch``."""
    return dict(cpu=_cpu_name(), cores=os.cpu_count(), threads=threads, torch=torch.__version__,
                gpu=torch.cuda.get_device_name(device) if device.type == 'cuda' else None)


def _cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def measure_products(argument: dict[str, Any]) -> dict[str, Any]:
    """Floating-point operations a second of a product of two square matrices, median of seven.

    Args:
        argument: ``device`` (name) and ``precision`` (``auto``, ``bfloat16`` or ``float32``).

    Returns:
        ``rate`` (FLOP/s; a multiplication and an addition are two) and ``precision``, settled.
    """
    device = torch.device(argument['device'])
    precision = choose_precision(argument['precision'], device.type)[0]
    if device.type == 'cuda':  # as in training
        torch.backends.cuda.matmul.allow_tf32 = True
    side = argument.get('side') or SIDE[device.type]
    a, b = (torch.rand(side, side, device=device).to(getattr(torch, precision)) for _ in range(2))
    seconds = interleaved(dict(product=lambda: torch.mm(a, b)), ROUNDS, clock=device_clock(device)[1])['product']
    return dict(rate=2 * side**3 / statistics.median(seconds), precision=precision)
