"""Seams: counted by hand, and found only where a map has them."""
import numpy as np
import pytest

from egmim_mm.analysis.seams import _worst_part, change_counts, seam_ratio, window_borders
from egmim_mm.inference.stock_slide import slide_starts, slide_stride, slide_windows


def test_changes_are_counted_across_each_line():
    classes = np.array([[0, 0, 1], [0, 2, 1]])
    valid = np.array([[True, True, True], [True, True, False]])
    assert [counts.tolist() for counts in change_counts(classes, valid, 0)] == [[1], [2]]
    assert [counts.tolist() for counts in change_counts(classes, valid, 1)] == [[1, 1], [2, 1]]


def test_borders_are_where_windows_begin_and_end():
    assert window_borders([0, 64, 128], 64, 192) == [64, 128]
    assert window_borders([0, 48, 96], 64, 160) == [48, 64, 96, 112]
    assert window_borders([0], 64, 40) == []


def test_a_map_of_noise_has_no_seam_and_one_of_squares_has_nothing_else():
    rng, valid, borders = np.random.default_rng(0), np.ones((256, 256), bool), [64, 128, 192]
    noise = seam_ratio(rng.integers(0, 4, (256, 256)), valid, borders, borders)
    assert noise['low'] < noise['ratio'] < noise['high']
    assert noise['border'] == pytest.approx(0.75, abs=0.03) and noise['ratio'] == pytest.approx(1, abs=0.04)
    squares = np.arange(16).reshape(4, 4).repeat(64, 0).repeat(64, 1)
    flipped = squares.copy()
    flipped[5::16, 5::16] = 99  # some change elsewhere
    found = seam_ratio(flipped, valid, borders, borders)
    assert found['border'] == 1 and found['elsewhere'] == pytest.approx(4 * 256 / (504 * 256), rel=1e-6)
    assert found['ratio'] > 100 > found['high']
    assert seam_ratio(flipped, valid, borders, borders) == found


def test_one_window_has_no_seam():
    with pytest.raises(ValueError, match='no window border'):
        seam_ratio(np.zeros((8, 8), int), np.ones((8, 8), bool), [], [])


@pytest.mark.parametrize('size', [100, 512, 513, 853, 854, 2048])
def test_crops_are_those_of_mmseg(size):
    stride = slide_stride(512)
    assert stride == 341
    grids = max(size - 512 + stride - 1, 0) // stride + 1  # the lines of EncoderDecoder.slide_inference
    ends = [min(i * stride + 512, size) for i in range(grids)]
    assert slide_starts(size, 512, stride) == [max(end - 512, 0) for end in ends]
    assert slide_windows(size, 100, 512, stride) == grids


def test_the_picture_shows_where_borders_are_worst():
    classes = np.zeros((200, 300), int)
    classes[:64, 256:] = 1  # changes at row 64, from column 256 on
    assert _worst_part(classes, [64], [], 64) == (32, 224)
    assert _worst_part(classes, [64], [], 1000) == (0, 0)
