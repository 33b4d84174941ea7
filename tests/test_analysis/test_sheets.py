import numpy as np
import pytest
from PIL import Image

from egmim_mm.analysis import colorize, contact_sheet, edge_to_rgb, hide_masked

PALETTE = [(255, 0, 0), (0, 255, 0)]


def test_colorize():
    painted = colorize(np.array([[0, 1], [255, 7]]), PALETTE, ignore_color=(9, 9, 9))
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[[255, 0, 0], [0, 255, 0]], [[9, 9, 9], [9, 9, 9]]]


def test_edges_get_brighter_and_are_clipped():
    rgb = edge_to_rgb(np.array([[[0.0, 0.3, 0.6, 1.0, 2.0]]]))
    assert rgb.shape == (1, 5, 3)
    brightness = rgb.astype(int).sum(2)[0]
    assert (np.diff(brightness[:4]) > 0).all() and brightness[3] == brightness[4]


def test_hidden_tokens_are_painted_and_the_others_kept():
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    mask = np.array([[True, False], [False, False]])
    shown = hide_masked(image, mask, color=(1, 2, 3))
    assert (shown[:4, :4] == (1, 2, 3)).all()
    assert np.array_equal(shown[4:], image[4:]) and np.array_equal(shown[:, 4:], image[:, 4:])
    with pytest.raises(ValueError, match='8x8 px does not divide into 3x3'):
        hide_masked(image, np.zeros((3, 3), bool))


def test_sheet_shows_each_image_in_its_own_colours_at_its_place(tmp_path):
    first = np.full((64, 64, 3), (200, 30, 30), np.uint8)
    second = np.zeros((64, 64))  # a map in [0, 1]: black
    path = tmp_path / 'new' / 'sheet.png'
    contact_sheet([[first, second], [None, first]], ['a', 'b'], path, row_titles=['x', 'y'], width=128,
                  legend=dict(road=(10, 20, 250)))
    sheet = np.asarray(Image.open(path).convert('RGB')).astype(int)
    red = np.abs(sheet - (200, 30, 30)).max(2) <= 2
    assert 2 * 126**2 <= red.sum() <= 2 * 129**2  # two squares of 128 px
    columns = np.flatnonzero(red.any(0))
    rows = np.flatnonzero(red.any(1))
    assert columns[-1] - columns[0] + 1 == pytest.approx(2 * 128 + 6, abs=2)
    assert rows[-1] - rows[0] + 1 == pytest.approx(2 * 128 + 6, abs=2)
    assert (np.abs(sheet - (10, 20, 250)).max(2) <= 2).sum() >= 14**2  # the legend's patch
    assert sheet.shape[0] < 2 * 128 + 100 and sheet.shape[1] < 2 * 128 + 80


def test_wide_images_make_low_rows(tmp_path):
    contact_sheet([[np.zeros((50, 200, 3), np.uint8)]], ['wide'], tmp_path / 'a.png', width=200)
    assert Image.open(tmp_path / 'a.png').size[1] < 110


@pytest.mark.parametrize('rows, titles, options, message', [
    ([], [], {}, 'at least one image'),
    ([[None]], ['a'], {}, 'at least one image'),
    ([[np.zeros((4, 4)), np.zeros((4, 4))]], ['a'], {}, '2 images, but there are 1 titles'),
    ([[np.zeros((4, 4))]], ['a'], dict(row_titles=['x', 'y']), '2 row titles for 1 rows'),
    ([[np.zeros((4, 4, 4))]], ['a'], {}, r'shape \(4, 4, 4\)'),
    ([[np.zeros((4, 4), int)]], ['a'], {}, 'colorize'),
])
def test_bad_input(tmp_path, rows, titles, options, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, titles, tmp_path / 'a.png', **options)
