"""Small things: cars, pools, containers, heaps, stored goods, sports courts."""
from collections.abc import Sequence

import numpy as np

from .canvas import Canvas
from .classes import CAR, CLUTTER, IMPERVIOUS, LOW_VEGETATION, WATER
from .ground import paint_paving
from .style import CARS, Style, jitter

GLASS = np.float32((0.06, 0.08, 0.10))


def paint_car(canvas: Canvas, rng: np.random.Generator, x: float, y: float, angle: float, allowed: Sequence[int],
              vans: float = 0.12) -> bool:
    """A car or van whose front is at +u; False when it does not stand on classes `allowed`."""
    kind = rng.choice(('car', 'van', 'lorry'), p=(1 - vans, vans * 0.7, vans * 0.3))
    half_u, half_v, height = dict(car=(2.15, 0.9, 1.45), van=(2.7, 1.0, 2.1), lorry=(4.4, 1.25, 3.2))[kind]
    half_u *= rng.uniform(0.9, 1.08)
    angle = angle + rng.normal(0, 0.02)
    if not canvas.is_free(x, y, angle, half_u + 0.25, half_v + 0.2, allowed):
        return False
    where, u, v = canvas.frame(x, y, angle, half_u + 1.0)
    s, t = u / half_u, v / half_v
    body = np.abs(s) ** 5 + np.abs(t) ** 5 <= 1
    colour = jitter(rng, CARS[rng.choice(len(CARS), p=(.2, .17, .14, .15, .08, .08, .05, .04, .05, .04))], 0.15)
    albedo = np.empty(u.shape + (3,), np.float32)
    albedo[:] = colour
    relief = 0.25 * (1 - np.maximum(np.abs(s) ** 4, np.abs(t) ** 4))
    if kind == 'lorry':
        cargo = s < 0.45
        albedo[cargo] = jitter(rng, ((0.75,) * 3, (0.5, 0.5, 0.48), (0.2, 0.3, 0.5))[rng.integers(3)])
        albedo[(s > 0.42) & (s < 0.5)] = 0.06
        albedo[(s > 0.84) & (np.abs(t) < 0.8)] = GLASS
        heights = np.where(cargo, height, 2.6)
    else:
        front, back = (0.46, -0.92) if kind == 'van' else (0.38, -0.72)
        cabin = (s < front) & (s > back)
        heights = np.where(cabin, height, 0.95)
        narrow = np.abs(t) < 0.82
        albedo[narrow & (s > front - 0.22) & (s < front)] = GLASS * rng.uniform(0.8, 1.6)
        albedo[narrow & (s > back) & (s < back + 0.14)] = GLASS * rng.uniform(0.8, 1.6)
        albedo[(np.abs(t) > 0.7) & (s > back + 0.15) & (s < front - 0.1)] *= 0.55
        roof = narrow & (s > back + 0.18) & (s < front - 0.22) & (np.abs(t) < 0.66)
        albedo[roof] = np.minimum(colour * 1.12 + 0.02, 0.95)
    canvas.put(where, body, CAR, albedo, heights, relief)
    return True


def paint_pool(canvas: Canvas, rng: np.random.Generator, x: float, y: float, angle: float) -> bool:
    """Garden pool with a paved rim; False without room."""
    half_u, half_v = rng.uniform(2.2, 4.2), rng.uniform(1.4, 2.2)
    if not canvas.is_free(x, y, angle, half_u + 1, half_v + 1, (LOW_VEGETATION,)):
        return False
    where, u, v = canvas.frame(x, y, angle, half_u + half_v + 1.5)
    power = rng.choice((2.5, 6, 12))

    def inside(margin: float) -> np.ndarray:
        return (np.abs(u / (half_u + margin)) ** power + np.abs(v / (half_v + margin)) ** power) <= 1

    paint_paving(canvas, where, inside(rng.uniform(0.5, 1.0)), jitter(rng, (0.6, 0.57, 0.5)), angle)
    blue = jitter(rng, ((0.22, 0.52, 0.60), (0.30, 0.55, 0.58), (0.12, 0.22, 0.22))[rng.choice(3, p=(0.45, 0.3, 0.25))])
    albedo = blue * (1 + 0.05 * canvas.mid[where] + 0.08 * u / half_u)[..., None]
    canvas.put(where, inside(0), WATER, albedo)
    return True


def paint_container(canvas: Canvas, rng: np.random.Generator, x: float, y: float, angle: float,
                    allowed: Sequence[int] = (IMPERVIOUS, LOW_VEGETATION)) -> bool:
    """Steel container with a ribbed roof; False without room."""
    half_u, half_v = rng.choice((3.05, 6.1)), 1.22
    if not canvas.is_free(x, y, angle, half_u + 0.2, half_v + 0.2, allowed):
        return False
    where, u, v = canvas.frame(x, y, angle, half_u + 1.5)
    colours = ((0.45, 0.16, 0.10), (0.12, 0.24, 0.42), (0.16, 0.32, 0.22), (0.55, 0.55, 0.53),
               (0.62, 0.40, 0.12), (0.33, 0.20, 0.16))
    ribs = 1 + 0.14 * np.sign(np.sin(2 * np.pi * u / 0.9)) + 0.05 * canvas.mid[where]
    albedo = jitter(rng, colours[rng.integers(len(colours))], 0.2) * ribs[..., None]
    region = (np.abs(u) <= half_u) & (np.abs(v) <= half_v)
    canvas.put(where, region, CLUTTER, albedo, 2.6 * rng.integers(1, 3))
    return True


def paint_heap(canvas: Canvas, style: Style, rng: np.random.Generator, x: float, y: float,
               allowed: Sequence[int] = (IMPERVIOUS, LOW_VEGETATION)) -> bool:
    """Irregular heap of soil, gravel or rubble; False without room."""
    radius = rng.uniform(2.0, 5.0)
    stretch, angle = rng.uniform(0.55, 1.0), rng.uniform(0, np.pi)
    if not canvas.is_free(x, y, angle, radius, radius * stretch, allowed):
        return False
    where, u, v = canvas.frame(x, y, angle, radius * 1.5)
    rough = canvas.mid[where]
    distance = np.hypot(u, v / stretch) / radius + 0.09 * rough
    region = distance < 1
    top = radius * rng.uniform(0.35, 0.6)
    shape = np.clip(1 - distance, 0, 1) * top + 0.10 * canvas.fine[where] + 0.12 * rough
    tone = ((0.44, 0.42, 0.39), style.soil, (0.55, 0.50, 0.42), (0.24, 0.23, 0.22))[rng.integers(4)]
    albedo = jitter(rng, tone) * (1 + 0.12 * canvas.fine[where] + 0.06 * rough)[..., None]
    canvas.put(where, region, CLUTTER, albedo, shape, shape)
    return True


def paint_goods(canvas: Canvas, rng: np.random.Generator, x: float, y: float, angle: float,
                allowed: Sequence[int] = (IMPERVIOUS, LOW_VEGETATION)) -> bool:
    """Cluster of pallets, pipes, tarpaulins and scrap; False when nothing fitted."""
    placed = False
    cos, sin = np.cos(angle), np.sin(angle)
    for _ in range(rng.integers(4, 14)):
        u, v = rng.normal(0, 2.2, 2)
        half_u, half_v = rng.uniform(0.4, 1.5), rng.uniform(0.35, 0.9)
        turn = angle + rng.choice((0, np.pi / 2)) + rng.normal(0, 0.12)
        px, py = x + u * cos - v * sin, y + u * sin + v * cos
        if not canvas.is_free(px, py, turn, half_u, half_v, allowed):
            continue
        where, region = canvas.rectangle(px, py, turn, half_u, half_v)
        tone = ((0.45, 0.36, 0.24), (0.5, 0.5, 0.5), (0.16, 0.30, 0.48), (0.70, 0.69, 0.66),
                (0.36, 0.18, 0.12), (0.2, 0.2, 0.21), (0.18, 0.32, 0.20))[rng.integers(7)]
        planks = 1 + 0.12 * canvas.fine[where]
        canvas.put(where, region, CLUTTER, jitter(rng, tone, 0.2) * planks[..., None], rng.uniform(0.5, 1.8))
        placed = True
    return placed


def paint_court(canvas: Canvas, rng: np.random.Generator, x: float, y: float, angle: float) -> bool:
    """Tennis court with lines and a fence shadow; False without room."""
    half_u, half_v = 17.0, 8.5
    if not canvas.is_free(x, y, angle, half_u, half_v, (LOW_VEGETATION,)):
        return False
    where, u, v = canvas.frame(x, y, angle, 20.0)
    au, av = np.abs(u), np.abs(v)
    clay, green, blue = (0.50, 0.27, 0.18), (0.25, 0.40, 0.28), (0.20, 0.34, 0.46)
    inner, outer = ((clay, clay), (blue, green), (green, clay))[rng.integers(3)]
    field = ((au < 11.9) & (av < 5.5))[..., None]
    albedo = np.where(field, jitter(rng, inner), jitter(rng, outer))
    albedo = albedo * (1 + 0.05 * canvas.fine[where] + 0.05 * canvas.mid[where])[..., None]
    w = canvas.metres_per_pixel * 0.55

    def line(first: np.ndarray, second: float, reach: np.ndarray) -> np.ndarray:
        return (np.abs(first - second) < w) & reach

    lines = line(au, 11.9, av < 5.5) | line(av, 5.5, au < 11.9) | line(av, 4.1, au < 11.9)
    lines |= line(au, 6.4, av < 4.1) | line(v, 0, au < 6.4)
    albedo[lines] = albedo[lines] * 0.35 + 0.65 * 0.72
    height = np.where((au < w) & (av < 5.8), 1.0, 0.0)
    albedo[(au < w) & (av < 5.8)] *= 0.6
    canvas.put(where, (au < half_u) & (av < half_v), CLUTTER, albedo, height)
    return True
