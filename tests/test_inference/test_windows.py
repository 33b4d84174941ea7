"""Windows cover every pixel, and their weights are smooth and positive."""
import numpy as np
import pytest

from egmim_mm.inference.windows import blend_weights, window_side, window_starts


@pytest.mark.parametrize('overlap', [0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize('size', [1, 31, 64, 65, 100, 1000])
def test_windows_cover_an_axis_with_the_overlap(size, overlap):
    starts = window_starts(size, 64, overlap)
    steps = np.diff(starts)
    assert starts[0] == 0 and starts[-1] == max(0, size - 64)
    assert (steps > 0).all() and (steps <= max(1, round(64 * (1 - overlap)))).all()
    if len(steps):
        assert steps.max() - steps.min() <= 1  # evenly spread
        needed = (size - 64) / max(1, round(64 * (1 - overlap)))
        assert len(steps) - 1 < needed  # and not one too many


def test_a_small_image_takes_a_small_window():
    assert [window_side(size, 512) for size in (1, 32, 33, 500, 512, 10_000)] == [32, 32, 64, 512, 512, 512]
    assert window_side(40, 50) == 50


def test_ramps_of_neighbours_add_up_to_one():
    weights = blend_weights(64, 0.125)
    np.testing.assert_allclose(weights[-8:] + weights[:8], 1, rtol=1e-6)
    np.testing.assert_allclose(weights[:8], np.sin(np.pi / 2 * (np.arange(8) + 0.5) / 8) ** 2, rtol=1e-6)
    assert (weights[8:56] == 1).all() and weights.min() > 0 and weights.dtype == np.float32


def test_ramps_are_an_eighth_of_a_window_at_most():
    for overlap in (0.125, 0.25, 0.9):
        np.testing.assert_array_equal(blend_weights(64, overlap), blend_weights(64, 0.125))
    assert (blend_weights(64, 0.05)[:4] < 1).tolist() == [True, True, True, False]


@pytest.mark.parametrize('overlap', [0, 0.5, 0.9])
def test_weights_are_positive_and_symmetric(overlap):
    weights = blend_weights(33, overlap)
    assert weights.shape == (33, ) and weights.min() > 0
    np.testing.assert_array_equal(weights, weights[::-1])
    assert (weights == 1).all() == (overlap == 0)
