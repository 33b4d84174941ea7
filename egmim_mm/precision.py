"""In which precision to compute on a device: bfloat16 where it is faster, else float32."""
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

__all__ = ['PRECISIONS', 'autocast_for', 'choose_precision', 'exact_float32']

PRECISIONS = ('auto', 'bfloat16', 'float32')
_WORTH = 1.5  # how much faster products must be; processors that only emulate bfloat16 are at 1 and below
_SHAPE = (4096, 192, 768)  # of the product that is timed: the first layer of an MLP in stage 3 of a small Swin


def choose_precision(precision: str, device_type: str) -> tuple[str, str]:
    """Settle 'auto', and replace what the device does not have.

    Args:
        precision: One of :data:`PRECISIONS`.
        device_type: ``cpu``, ``cuda``, ...

    Returns:
        ``bfloat16`` or ``float32``, and why, for the log.

    Raises:
        ValueError: An unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    if precision == 'float32':
        return 'float32', 'as the config says'
    if device_type == 'cuda':
        has, why = torch.cuda.is_bf16_supported(including_emulation=False), 'this GPU has it'
    elif device_type == 'cpu':
        # no measurement decides what the config states
        gain = float('inf') if precision == 'bfloat16' else _cpu_gain()
        has = torch.ops.mkldnn._is_mkldnn_bf16_supported() and gain >= _WORTH
        why = 'as the config says' if precision == 'bfloat16' else f'products are {gain:.1f} times as fast on this CPU'
    else:
        has, why = False, ''
    if has:
        return 'bfloat16', why
    return 'float32', f'bfloat16 is not there or not faster on this {device_type}'


def autocast_for(device: torch.device | str, precision: str = 'auto') -> torch.autocast:
    """Context in which a model runs in the precision that :func:`choose_precision` settles for a device."""
    device_type = torch.device(device).type
    enabled = choose_precision(precision, device_type)[0] == 'bfloat16'
    # devices without autocast of their own are handed the CPU's, switched off
    return torch.autocast(device_type if enabled else 'cpu', torch.bfloat16, enabled=enabled)


@contextmanager
def exact_float32(device: torch.device | str) -> Iterator[None]:
    """No autocast on a device, and no TF32, for what would drown in the steps of short numbers."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for switch, allowed in zip(switches, before):
            switch.allow_tf32 = allowed


@lru_cache(maxsize=1)
def _cpu_gain() -> float:
    """Time of a float32 product over that of a bfloat16 one; the best of seven of each, taken in turn."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return 0.0
    rows, inner, columns = _SHAPE
    best: dict[torch.dtype, float] = {}
    operands = {dtype: (torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype))
                for dtype in (torch.float32, torch.bfloat16)}
    for _ in range(7):
        for dtype, (a, b) in operands.items():
            start = time.perf_counter()
            torch.mm(a, b)
            best[dtype] = min(best.get(dtype, float('inf')), time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]
