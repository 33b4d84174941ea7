"""The colour table."""
from egmim_mm.colors import RIGHT, WRONG, default_palette, ignore_color


def test_default_palette_is_tab20_and_differs_from_the_error_colours():
    palette = default_palette(20)
    assert palette[:2] == [(31, 119, 180), (174, 199, 232)] and len(set(palette)) == 20
    assert default_palette(21)[20] == palette[0] and default_palette(0) == []
    assert RIGHT != WRONG


def test_ignored_pixels_have_a_colour_of_no_class():
    assert ignore_color([(1, 2, 3)]) == (0, 0, 0)
    assert ignore_color([(0, 0, 0), (128, 128, 128)]) == (255, 255, 255)
