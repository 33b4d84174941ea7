"""Labelled picture sheets: rows of images with column titles, row titles and a class legend."""
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from PIL import Image

from egmim_mm.colors import EDGE_COLORMAP, HIDDEN, Color
from egmim_mm.records import whole_file

DPI = 100
GAP, MARGIN, TITLE, LINE, LABEL, LEGEND_ROW, FONT = 6, 10, 26, 17, 26, 26, 11  # px, the last in points


def colorize(mask: np.ndarray, palette: Sequence[Color], ignore_color: Color = (0, 0, 0)) -> np.ndarray:
    """Paint a class map.

    Args:
        mask: (H, W) integer class ids; anything outside the palette counts as ignored.
        palette: RGB triples, 0..255, in class order.
        ignore_color: Colour of ignored pixels.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    mask = np.asarray(mask).astype(np.int64)
    table = np.array([*palette, ignore_color], dtype=np.uint8)
    return table[np.where((mask >= 0) & (mask < len(palette)), mask, len(palette))]


def edge_to_rgb(edge: np.ndarray, colormap: str = EDGE_COLORMAP) -> np.ndarray:
    """Show an edge map: dark is flat, bright is a strong edge.

    Args:
        edge: (H, W) or (1, H, W), in [0, 1]; values outside are clipped.
        colormap: A matplotlib colour map.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    edge = np.asarray(edge, dtype=np.float32)
    edge = edge.reshape(edge.shape[-2:])
    rgb = matplotlib.colormaps[colormap](np.clip(edge, 0, 1))[..., :3]
    return (255 * rgb + 0.5).astype(np.uint8)


def hide_masked(image: np.ndarray, mask: np.ndarray, color: Color = HIDDEN) -> np.ndarray:
    """Paint the hidden tokens of an image in one colour.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (h, w) bool, True = hidden; H and W are multiples of h and w.
        color: RGB of hidden tokens.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: If the image is not a whole number of tokens wide and high.
    """
    mask = np.asarray(mask, dtype=bool)
    (height, width), (rows, columns) = image.shape[:2], mask.shape
    if height % rows or width % columns:
        raise ValueError(f'an image of {height}x{width} px does not divide into {rows}x{columns} tokens')
    hidden = mask.repeat(height // rows, 0).repeat(width // columns, 1)
    return np.where(hidden[..., None], np.uint8(color), image)


def draw_sheet(rows: Sequence[Sequence[np.ndarray | None]],
               titles: Sequence[str],
               legend: Mapping[str, Color] | None = None,
               row_titles: Sequence[str] | None = None,
               width: int = 256) -> np.ndarray:
    """Draw a grid of images with titles as one picture; the same input gives the same bytes.

    Args:
        rows: Images of each row, at most one for each title: (H, W, 3) uint8 RGB, (H, W, 3) float in
            [0, 1], or (H, W) (bool, or float in [0, 1]; drawn in grey); None leaves the place empty.
            An image smaller than its place is enlarged without smoothing.
        titles: Title of each column; lines that are too long for it are wrapped.
        legend: Class name -> RGB triple, 0..255, drawn below the grid.
        row_titles: Title of each row, drawn upright at its left; one that is too long loses its beginning.
        width: Width of a column in pixels; a row is as high as its highest image needs.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: If there is nothing to draw, a row has more images than there are titles, the row
            titles do not match the rows, or an image is of none of these kinds.
    """
    if not rows or not titles or not any(image is not None for row in rows for image in row):
        raise ValueError('a contact sheet needs at least one image')
    if max(len(row) for row in rows) > len(titles):
        raise ValueError(f'a row has {max(len(row) for row in rows)} images, but there are '
                         f'{len(titles)} titles')
    if row_titles is not None and len(row_titles) != len(rows):
        raise ValueError(f'{len(row_titles)} row titles for {len(rows)} rows')

    rows = [[None if image is None else _rgb(image) for image in row] for row in rows]
    heights = [max([round(width * image.shape[0] / image.shape[1]) for image in row if image is not None],
                   default=0) for row in rows]
    titles = [_wrapped(title, width) for title in titles]
    head = TITLE + LINE * max(title.count('\n') for title in titles)
    left = MARGIN + (LABEL if row_titles else 0)
    total_width = left + len(titles) * (width + GAP) - GAP + MARGIN
    places = _legend_places(legend or {}, total_width - left - MARGIN)
    legend_rows = 1 + max((row for row, _ in places), default=-1)
    total_height = head + sum(heights) + GAP * (len(rows) - 1) + MARGIN + legend_rows * LEGEND_ROW

    figure = Figure((total_width / DPI, total_height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    page = figure.add_axes([0, 0, 1, 1])  # pixel coordinates, y downwards
    page.set(xlim=(0, total_width), ylim=(total_height, 0))
    page.axis('off')
    text = dict(fontsize=FONT, ha='center', parse_math=False)  # a $ in a file name is a $
    for column, title in enumerate(titles):
        page.text(left + column * (width + GAP) + width / 2, head - 8, title, va='baseline', linespacing=1.1, **text)
    top = head
    for index, (row, height) in enumerate(zip(rows, heights)):
        if row_titles:
            title = _shortened(row_titles[index], height)
            page.text(left - LABEL / 2, top + height / 2, title, rotation=90, va='center', **text)
        for column, image in enumerate(row):
            if image is None:
                continue
            x, own = left + column * (width + GAP), round(width * image.shape[0] / image.shape[1])
            page.imshow(image, extent=(x, x + width, top + own, top), aspect='auto',
                        interpolation='nearest' if image.shape[1] <= width else 'antialiased')
        top += height + GAP
    page.set(xlim=(0, total_width), ylim=(total_height, 0))  # imshow changes them
    for (name, color), (row, x) in zip((legend or {}).items(), places):
        y = top - GAP + MARGIN + row * LEGEND_ROW
        page.add_patch(Rectangle((left + x, y), 16, 16, facecolor=np.array(color) / 255, edgecolor='0.4',
                                 linewidth=0.6))
        page.text(left + x + 22, y + 8, name, fontsize=FONT - 1, va='center', parse_math=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def picture_path(path: str | Path) -> Path:
    """``path``, if its name is that of a picture that can be written.

    Raises:
        ValueError: It ends neither with .png nor with .jpg.
    """
    path = Path(path)
    if path.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        raise ValueError(f'{path}: a picture is written as .png or .jpg')
    return path


def contact_sheet(rows: Sequence[Sequence[np.ndarray | None]],
                  titles: Sequence[str],
                  path: str | Path,
                  legend: Mapping[str, Color] | None = None,
                  row_titles: Sequence[str] | None = None,
                  width: int = 256) -> None:
    """Write what :func:`draw_sheet` draws as a picture file; one that is there is replaced.

    Args:
        rows, titles, legend, row_titles, width: See :func:`draw_sheet`.
        path: File to write, PNG or JPEG by its name; its folder is made.

    Raises:
        ValueError: As :func:`draw_sheet` and :func:`picture_path`.
    """
    path = picture_path(path)
    sheet = draw_sheet(rows, titles, legend, row_titles, width)
    with whole_file(path) as draft:
        Image.fromarray(sheet).save(draft, quality=92)


def _rgb(image: np.ndarray) -> np.ndarray:
    """Any accepted image as (H, W, 3) uint8."""
    image = np.asarray(image)
    if image.ndim == 2 and np.issubdtype(image.dtype, np.integer):
        raise ValueError('a map of integers has no colours yet: pass it through colorize() first')
    if image.ndim == 2:
        image = np.repeat(image.astype(np.float32)[..., None], 3, 2)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'an image has shape {image.shape}: (H, W, 3) or (H, W) is expected')
    if image.dtype != np.uint8:
        image = (255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)
    return image


@lru_cache(maxsize=1)
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, DPI)


def _text_width(text: str, points: int = FONT) -> float:
    """Width in px."""
    return _renderer().get_text_width_height_descent(text, FontProperties(size=points), ismath=False)[0]


def _shortened(text: str, room: int) -> str:
    """``text``, without its beginning if it is wider than ``room`` px: the end of a path tells more."""
    if _text_width(text) <= room:
        return text
    return next(('…' + text[i:] for i in range(1, len(text)) if _text_width('…' + text[i:]) <= room), '')


def _wrapped(text: str, room: int) -> str:
    """``text`` with line breaks between words, so that each line fits into ``room`` px."""
    lines = []
    for paragraph in text.split('\n'):
        line = ''
        for word in paragraph.split():
            longer = f'{line} {word}'.strip()
            if line and _text_width(longer) > room:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return '\n'.join(_shortened(line, room) for line in lines)


def _legend_places(legend: Mapping[str, Color], width: int) -> Sequence[tuple[int, int]]:
    """(row, x in px) of each entry, filled left to right like words."""
    places, row, x = [], 0, 0
    for name in legend:
        needed = 22 + int(_text_width(name, FONT - 1)) + 16  # patch, text, space
        if x and x + needed > width:
            row, x = row + 1, 0
        places.append((row, x))
        x += needed
    return places
