import numpy as np
import pytest
from PIL import Image

from egmim_mm.pictures import colorize, contact_sheet, edge_to_rgb, hide_masked
from egmim_mm.pictures.sheets import GAP, LABEL, LINE, MARGIN, TITLE, draw_sheet

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


def test_images_as_wide_as_their_column_keep_every_pixel():
    images = [np.random.default_rng(i).integers(0, 256, (40, 64, 3)).astype(np.uint8) for i in range(4)]
    sheet = draw_sheet([images[:2], images[2:]], ['a', 'b'], width=64)
    assert sheet.dtype == np.uint8 and sheet.shape == (TITLE + 2 * 40 + GAP + MARGIN, 2 * MARGIN + 2 * 64 + GAP, 3)
    for i, image in enumerate(images):
        top, left = TITLE + i // 2 * (40 + GAP), MARGIN + i % 2 * (64 + GAP)
        assert np.array_equal(sheet[top:top + 40, left:left + 64], image)


def test_the_same_sheet_twice_is_the_same_file(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    for name in 'ab':
        contact_sheet([[image]], ['title'], tmp_path / f'{name}.png', row_titles=['row'], legend=dict(x=(1, 2, 3)))
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


@pytest.mark.parametrize('title', [
    'a title of many words ' * 4, 'one_word_that_is_wider_than_its_column' * 3, r'no $\formula$'])
def test_titles_are_neither_cut_nor_drawn_over_their_neighbours(title):
    image = np.full((150, 128, 3), 255, np.uint8)
    sheet = draw_sheet([[image, image, image]], ['', title, ''], row_titles=[title], width=128)
    dark = (sheet < 128).any(2)
    first, top = MARGIN + LABEL, sheet.shape[0] - MARGIN - 150  # corner of the first image
    rows, columns = np.flatnonzero(dark[:, first:].any(1)), np.flatnonzero(dark[:, first:].any(0)) + first
    assert rows[0] > 2 and rows[-1] < top
    left = first + 128 + GAP
    assert left - 1 <= columns[0] and columns[-1] <= left + 128
    upright = np.flatnonzero(dark[:, :first].any(1))
    assert len(upright) and upright[0] >= top and upright[-1] <= top + 150


def test_lines_of_a_title_make_room_for_themselves():
    one, two = (draw_sheet([[np.zeros((9, 99))]], [title], width=99) for title in ('a', 'a\nb'))
    assert two.shape[0] - one.shape[0] == LINE


def test_only_pictures_are_written(tmp_path):
    contact_sheet([[np.zeros((9, 9))]], ['a'], tmp_path / 'a.jpg')
    assert Image.open(tmp_path / 'a.jpg').format == 'JPEG'
    with pytest.raises(ValueError, match='sheet.txt: a picture is written as .png or .jpg'):
        contact_sheet([[np.zeros((9, 9))]], ['a'], tmp_path / 'sheet.txt')


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


def test_a_sheet_that_is_interrupted_leaves_the_one_before(tmp_path, monkeypatch):
    contact_sheet([[np.zeros((9, 9))]], ['a'], tmp_path / 'a.png')
    before = (tmp_path / 'a.png').read_bytes()

    def stop(image, path, **options):
        path.write_bytes(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, 'save', stop)
    with pytest.raises(KeyboardInterrupt):
        contact_sheet([[np.ones((9, 9))]], ['a'], tmp_path / 'a.png')
    assert [path.name for path in tmp_path.iterdir()] == ['a.png'] and (tmp_path / 'a.png').read_bytes() == before
