"""Errors are counted and painted as they are, and files cannot collide."""
import numpy as np
import pytest

from egmim_mm.pictures.predictions import (
    MIN_WIDTH,
    RIGHT,
    WRONG,
    error_map,
    error_share,
    prediction_sheet,
    sheet_name,
)

TARGET = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
GUESS = np.array([[0, 0, 1], [1, 0, 0]], np.uint8)  # two of five labelled pixels are wrong


def test_errors_are_painted_pixel_by_pixel():
    painted = error_map(GUESS, TARGET, ignore_color=(1, 2, 3))
    assert painted.tolist() == [[list(RIGHT), list(WRONG), [1, 2, 3]], [list(RIGHT), list(WRONG), list(RIGHT)]]
    assert error_share(GUESS, TARGET) == pytest.approx(2 / 5)
    assert error_share(GUESS, np.full_like(TARGET, 255)) is None


def test_sheet_shows_truth_prediction_and_errors_in_place():
    large = [np.kron(mask, np.ones((128, 128), np.uint8)) for mask in (GUESS, TARGET)]
    palette = [(10, 60, 110), (200, 120, 20)]
    meta = dict(classes=('a', 'b'), palette=palette)
    sheet = prediction_sheet('tile', np.full((256, 384, 3), 99, np.uint8), *large, meta)
    step = (sheet.shape[1] - 2 * 10 - 3 * 6) // 4 + 6  # a picture and the gap
    assert step == 384 + 6

    def colours(column):
        """Colour in the middle of each of the six cells; the titles above take one line or more."""
        left = 10 + column * step
        top = np.nonzero((sheet[:, 10 + 192] == 99).all(1))[0][0]
        return [[tuple(sheet[top + 64 + 128 * y, left + 64 + 128 * x]) for x in range(3)] for y in range(2)]

    black = (0, 0, 0)
    shown = palette + [black]
    assert colours(1) == [[shown[min(value, 2)] for value in row] for row in TARGET.tolist()]
    assert colours(2) == [[shown[value] for value in row] for row in GUESS.tolist()]
    assert colours(3) == [[RIGHT, WRONG, black], [RIGHT, WRONG, RIGHT]]
    for colour in (*palette, RIGHT, WRONG, black):  # the legend is below the pictures
        assert (sheet[-30:] == colour).all(-1).sum() > 100
    assert MIN_WIDTH <= 384


def test_file_names():
    assert sheet_name(3, 0.3418, 'tile_1/part 2') == '0003_wrong_34.2pct_tile_1_part_2.png'
    assert sheet_name(9, None, 'x') == '0009_unlabelled_x.png'
    assert sheet_name(1, 0.5, 'a/b') != sheet_name(2, 0.5, 'a_b')
    assert len(sheet_name(1, 0.5, 'long/' * 100)) < 255
