"""The colours of pictures, maps and plots: RGB triples, 0..255, unless a name of matplotlib's is asked for."""
import matplotlib

__all__ = ['EDGE_COLORMAP', 'HIDDEN', 'PLOT_BARS', 'PLOT_LINES', 'PLOT_MARK', 'RIGHT', 'WRONG', 'Color',
           'default_palette', 'ignore_color']

Color = tuple[int, int, int]

RIGHT, WRONG = (222, 222, 222), (214, 39, 40)  # pixels of an error map
HIDDEN = (128, 128, 128)  # masked tokens
EDGE_COLORMAP = 'magma'  # dark is flat, bright is a strong edge
PLOT_BARS, PLOT_MARK = '0.6', 'tab:red'  # a histogram, and the line that matters in it
# Okabe and Ito: told apart by colour-blind people too (https://jfly.uni-koeln.de/color)
PLOT_LINES = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
_IGNORED = ((0, 0, 0), (128, 128, 128), (255, 255, 255), (255, 0, 255))


def default_palette(count: int) -> list[Color]:
    """Colours for classes without a palette: matplotlib's tab20, from the start again after twenty."""
    return [tuple(round(255 * part) for part in matplotlib.colormaps['tab20'](i % 20)[:3]) for i in range(count)]


def ignore_color(palette: list[Color]) -> Color:
    """A colour for pixels without a label that no class of the palette has."""
    return next(color for color in _IGNORED if color not in palette)
