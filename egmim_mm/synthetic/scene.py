"""One synthetic aerial scene: image and exact class mask."""
from collections.abc import Sequence

import numpy as np

from .canvas import Canvas
from .landscapes import country, park
from .render import render
from .settlements import industry, suburb, town
from .style import Style, draw_style

LAYOUTS = dict(suburb=suburb, town=town, industry=industry, country=country, park=park)
FREQUENCIES = dict(suburb=0.34, town=0.22, industry=0.16, country=0.16, park=0.12)
MIN_SIZE = 32  # px
MARGIN = 24  # px painted around the tile, so that things outside cast shadows into it


def paint_scene(seed: int | Sequence[int], size: int = 256,
                kind: str | None = None) -> tuple[Canvas, Style, np.random.Generator]:
    """Paint the layers of a scene without photographing it.

    Returns:
        (canvas of size + 2 * MARGIN px, style, rng to go on with).
    """
    rng = np.random.default_rng(seed)
    names = list(FREQUENCIES)
    drawn = names[rng.choice(len(names), p=list(FREQUENCIES.values()))]
    kind = drawn if kind is None else kind
    if kind not in LAYOUTS:
        raise ValueError(f'unknown kind of scene {kind!r}; choose one of {names}')
    style = draw_style(rng)
    canvas = Canvas(rng, size + 2 * MARGIN, rng.uniform(0.22, 0.31))
    LAYOUTS[kind](canvas, style, rng)
    return canvas, style, rng


def make_scene(seed: int | Sequence[int], size: int = 256, kind: str | None = None,
               shadows: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic aerial photograph at 0.22 to 0.31 m per pixel and its exact mask.

    Args:
        seed: non-negative; the scene is a pure function of the arguments.
        size: Side of the tile, px, at least 32.
        kind: 'suburb', 'town', 'industry', 'country' or 'park'; drawn by default.
        shadows: Cast shadows in the image; the mask is the same either way.

    Returns:
        Image (size, size, 3) uint8 RGB and mask (size, size) uint8 with values 0..6 in the order of `CLASSES`.

    Raises:
        ValueError: if `size` is below 32 or `kind` is unknown.
    """
    if size < MIN_SIZE:
        raise ValueError(f'size must be at least {MIN_SIZE} px, got {size}')
    canvas, style, rng = paint_scene(seed, size, kind)
    image = render(canvas, style, rng, shadows)
    tile = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    return np.ascontiguousarray(image[tile]), np.ascontiguousarray(canvas.mask[tile])
