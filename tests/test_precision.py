"""bfloat16 where the device has it and is faster; float32 is one option away."""
import pytest
import torch

from egmim_mm import precision
from egmim_mm.precision import autocast_for, choose_precision, exact_float32


@pytest.fixture
def gain(monkeypatch):
    """Function: what the measurement on the CPU finds."""
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True, raising=False)
    return lambda value: monkeypatch.setattr(precision, '_cpu_gain', lambda: value)


@pytest.mark.parametrize('wanted, measured, expected', [
    ('auto', 3.0, 'bfloat16'), ('auto', 1.4, 'float32'), ('bfloat16', 0.5, 'bfloat16'), ('float32', 9.0, 'float32')])
def test_cpu(gain, wanted, measured, expected):
    gain(measured)
    assert choose_precision(wanted, 'cpu')[0] == expected
    a = torch.ones(2, 2)
    with autocast_for('cpu', wanted):
        assert (a @ a).dtype == getattr(torch, expected)
    assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize('has', [True, False])
def test_gpu(monkeypatch, has):
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: has)
    for wanted in ('auto', 'bfloat16'):
        assert choose_precision(wanted, 'cuda')[0] == ('bfloat16' if has else 'float32')


def test_other_devices_compute_in_float32():
    assert choose_precision('auto', 'mps')[0] == 'float32'
    with autocast_for('mps'):
        assert not torch.is_autocast_enabled('cpu')


@pytest.fixture
def tf32():
    """TF32 is allowed for a while."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield switches
    for switch, allowed in zip(switches, before):
        switch.allow_tf32 = allowed


def test_exact_products_inside_autocast_and_the_switches_as_before(tf32):
    a = torch.full((1, 1), 1 + 2**-12)  # between two numbers of bfloat16, and of TF32
    with autocast_for('cpu', 'bfloat16'), exact_float32('cpu'):
        assert float(a @ a) == pytest.approx(float(a)**2, abs=1e-7) and (a @ a).dtype == torch.float32
        assert not any(switch.allow_tf32 for switch in tf32)
    assert all(switch.allow_tf32 for switch in tf32)


def test_measurement():
    first = precision._cpu_gain()
    assert first >= 0 and precision._cpu_gain() == first  # one measurement decides for the whole process


def test_unknown():
    with pytest.raises(ValueError, match="must be one of auto, bfloat16, float32, got 'fp16'"):
        choose_precision('fp16', 'cpu')
