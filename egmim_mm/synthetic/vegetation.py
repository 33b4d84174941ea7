"""Trees, woods, hedges and bushes."""
from collections.abc import Sequence

import numpy as np

from .canvas import Canvas
from .classes import BUILDING, CAR, IMPERVIOUS, LOW_VEGETATION, TREE, WATER
from .ground import EVERYWHERE
from .streets import Street
from .style import Style, jitter


def paint_tree(canvas: Canvas, style: Style, rng: np.random.Generator, x: float, y: float, radius: float,
               species: int | None = None, on_roofs: float = 0.06) -> bool:
    """A crown of about `radius` metres; False where it would stand in water or on a roof."""
    covered = canvas.frame(x, y, rng.uniform(0, 2 * np.pi), radius * 1.4)
    if covered is None:
        return False
    where, u, v = covered
    distance = np.hypot(u, v) / radius
    foot = distance < 1.5 * canvas.metres_per_pixel / radius
    if np.isin(canvas.mask[where][foot], (WATER, BUILDING)).any():
        return False
    theta = np.arctan2(v, u)
    conifer = rng.random() < 0.15
    if conifer:
        lobes = 0.10 * np.cos(rng.integers(7, 12) * theta)
    else:
        waves = rng.integers(2, 8, 3)
        lobes = sum(0.07 * np.cos(k * theta + rng.uniform(0, 6.3)) for k in waves)
    shift = rng.integers(0, canvas.size, 2)
    rows = (np.arange(where[0].start, where[0].stop) + shift[0]) % canvas.size
    cols = (np.arange(where[1].start, where[1].stop) + shift[1]) % canvas.size
    fine, mid = canvas.fine[np.ix_(rows, cols)], canvas.mid[np.ix_(rows, cols)]
    region = distance + lobes + 0.07 * fine + 0.08 * mid < 1
    if not region.any():
        return False
    if np.mean(canvas.mask[where][region] == BUILDING) > on_roofs:
        return False
    top = radius * (rng.uniform(2.2, 3.0) if conifer else rng.uniform(1.3, 2.0)) + 1.0
    dome = 1 - distance if conifer else np.sqrt(np.clip(1 - 0.85 * distance ** 2, 0.02, 1))
    bumps = 0.32 * fine + 0.30 * mid
    relief = (dome * radius * (1.0 if conifer else 0.75) + bumps * min(1.0, radius / 3))
    height = np.maximum(canvas.height[where], top * (0.35 + 0.65 * dome) + 0.6 * mid)
    colour = style.crowns[rng.integers(len(style.crowns)) if species is None else species]
    colour = jitter(rng, colour * (0.75 if conifer else 1.0), 0.18, 0.06)
    gaps = np.where(fine + 0.6 * mid < -1.4, 0.55, 1.0)
    albedo = colour * ((1 + 0.14 * fine + 0.10 * mid) * gaps)[..., None]
    canvas.put(where, region, TREE, albedo, height, relief)
    return True


def scatter_trees(canvas: Canvas, style: Style, rng: np.random.Generator, count: int,
                  radius: tuple[float, float] = (1.3, 4.2), ground: Sequence[int] = (LOW_VEGETATION,)) -> None:
    """Up to `count` trees at random places whose foot is on free ground of classes `ground`."""
    for _ in range(count):
        x, y = rng.uniform(0, canvas.extent, 2)
        row, col = (min(int(c / canvas.metres_per_pixel), canvas.size - 1) for c in (y, x))
        if canvas.mask[row, col] in ground and not canvas.reserved[row, col]:
            size = radius[0] + (radius[1] - radius[0]) * rng.beta(1.5, 2.0)
            paint_tree(canvas, style, rng, x, y, size)


def paint_wood(canvas: Canvas, style: Style, rng: np.random.Generator, region: np.ndarray,
               spacing: float = 4.0) -> None:
    """Closed wood on `region`: crowns on a jittered grid, undergrowth in the gaps."""
    free = region & (canvas.mask == LOW_VEGETATION)
    dark = style.crowns.mean(0) * 0.7 * (1 + 0.2 * canvas.fine)[..., None]
    canvas.put(EVERYWHERE, free, TREE, dark, 1.5, 0.2 * canvas.fine)
    steps = np.arange(0, canvas.extent, spacing)
    centres = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    for x, y in rng.permutation(centres) + rng.uniform(-0.45, 0.45, centres.shape) * spacing:
        row, col = (int(np.clip(c / canvas.metres_per_pixel, 0, canvas.size - 1)) for c in (y, x))
        if region[row, col] and canvas.mask[row, col] in (LOW_VEGETATION, TREE):
            paint_tree(canvas, style, rng, x, y, spacing * rng.uniform(0.55, 0.95))


def tree_row(canvas: Canvas, style: Style, rng: np.random.Generator, stations: Sequence[tuple[float, float]],
             radius: float, keep: float = 0.85) -> None:
    """Trees of one species at (x, y) `stations`."""
    species = rng.integers(len(style.crowns))
    for x, y in stations:
        if rng.random() < keep:
            paint_tree(canvas, style, rng, x + rng.normal(0, 0.3), y + rng.normal(0, 0.3),
                       radius * rng.uniform(0.8, 1.2), species)


def paint_street_trees(canvas: Canvas, style: Style, rng: np.random.Generator, streets: Sequence[Street],
                       chance: float) -> None:
    """Rows of trees on the pavements; each side of a street has one with probability `chance`."""
    for street in streets:
        for side in (-1, 1):
            if rng.random() < chance:
                radius = rng.uniform(1.4, 2.6)
                places = [street.beside(*station, side, street.reach - 0.3)[:2]
                          for station in street.stations(rng.uniform(7, 12), rng.uniform(0, 6))]
                # no trees on bridges
                places = [(x, y) for x, y in places if canvas.is_free(
                    x, y, 0.0, 1.2, 1.2, (IMPERVIOUS, LOW_VEGETATION, TREE, CAR))]
                tree_row(canvas, style, rng, places, radius)


def paint_hedge(canvas: Canvas, style: Style, rng: np.random.Generator, region: np.ndarray) -> None:
    """Hedge on `region`, where it is grass; the rim is uneven."""
    region = region & (canvas.mask == LOW_VEGETATION)
    tone = jitter(rng, style.crowns[rng.integers(len(style.crowns))], 0.15, 0.05)
    albedo = tone * (1 + 0.16 * canvas.fine + 0.10 * canvas.mid)[..., None]
    canvas.put(EVERYWHERE, region, TREE, albedo, 1.7 + 0.2 * canvas.mid, 0.35 * canvas.fine)
