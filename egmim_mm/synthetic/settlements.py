"""Plans of built-up land: suburbs, towns, industry."""
from collections.abc import Sequence

import numpy as np

from .buildings import paint_building
from .canvas import Canvas
from .classes import IMPERVIOUS, LOW_VEGETATION
from .ground import EVERYWHERE, paint_asphalt, paint_lawn, paint_paving
from .objects import paint_car, paint_container, paint_goods, paint_heap, paint_pool
from .parcels import build_plots, draw_boundaries, nearest_plot, paint_gardens, plan_plots
from .streets import Street, paint_car_park, paint_streets, paint_traffic, street_grid
from .style import FLAT, Style, jitter
from .vegetation import paint_street_trees, scatter_trees

GROUND = (IMPERVIOUS, LOW_VEGETATION)


def suburb(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Detached houses in gardens along quiet streets."""
    paint_lawn(canvas, style)
    streets = street_grid(rng, canvas.extent, rng.uniform(46, 60), rng.uniform(5, 7),
                          rng.choice((0, 1.4, 1.8)), rng.uniform(0, 5))
    plots = plan_plots(canvas, rng, streets)
    owner = nearest_plot(canvas, plots) if plots else None
    if plots:
        paint_gardens(canvas, style, rng, plots, owner)
    paint_streets(canvas, style, rng, streets)
    if plots:
        build_plots(canvas, style, rng, plots)
        draw_boundaries(canvas, style, rng, owner, len(plots), hedges=rng.uniform(0.3, 0.9))
    for _ in range(rng.poisson(12)):  # few places are large enough
        angle = plots[rng.integers(len(plots))].angle if plots else 0.0
        paint_pool(canvas, rng, *canvas.anywhere(rng), angle)
    for _ in range(rng.poisson(1.5)):
        paint_goods(canvas, rng, *canvas.anywhere(rng), rng.uniform(0, 3), (LOW_VEGETATION,))
    paint_traffic(canvas, rng, streets, 0.12, 0.5)
    paint_street_trees(canvas, style, rng, streets, 0.25)
    scatter_trees(canvas, style, rng, int(rng.uniform(30, 130)), (0.6, rng.uniform(3.0, 5.5)))


def _set_rows(canvas: Canvas, style: Style, rng: np.random.Generator, streets: Sequence[Street]) -> None:
    """Buildings side by side along every street."""
    roof = rng.choice(style.roofs)
    for street in streets:
        for side in (-1, 1):
            cursor, stations = rng.uniform(0, 8), street.stations(0.5)
            while True:
                half_u, half_v = rng.uniform(4.5, 9), rng.uniform(5, 6.5)
                middle = int((cursor + half_u) * 2)
                if middle >= len(stations):
                    break
                place = street.beside(*stations[middle], side, street.reach + half_v)
                if canvas.is_free(*place, half_u - 0.3, half_v, GROUND):
                    kind = rng.choice(('gable', 'flat', 'hip'), p=(0.62, 0.28, 0.10))
                    tile = roof if kind != 'flat' and rng.random() < 0.5 else None
                    paint_building(canvas, style, rng, *place, half_u, half_v, rng.uniform(8, 15), kind, tile)
                    cursor += 2 * half_u + (rng.uniform(2, 5) if rng.random() < 0.12 else 0.0)
                else:
                    cursor += 3.0


def _fill_courtyards(canvas: Canvas, style: Style, rng: np.random.Generator, angle: float,
                     ground: Sequence[int]) -> None:
    """Garages, small car parks, stored goods, single cars, trees."""
    for _ in range(25):
        spot = canvas.anywhere(rng)
        if canvas.is_free(*spot, angle, 5.5, 5.0, ground):
            choice = rng.random()
            if choice < 0.5:
                paint_building(canvas, style, rng, *spot, angle, rng.uniform(2.5, 5),
                               rng.uniform(2.5, 4), rng.uniform(2.8, 5),
                               rng.choice(('flat', 'shed')))
            elif choice < 0.8:
                paint_car_park(canvas, style, rng, *spot, angle, 5.3, 2.5, 0.7)
            else:
                paint_goods(canvas, rng, *spot, angle)
    for _ in range(10):
        spot = canvas.anywhere(rng)
        paint_car(canvas, rng, *spot, angle + rng.choice((0, np.pi / 2)), (IMPERVIOUS,))
    scatter_trees(canvas, style, rng, 40, (1.0, 3.6), ground)


def _direction(street: Street) -> float:
    dx, dy = street.points[-1] - street.points[0]
    return np.arctan2(dy, dx)


def town(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Closed rows of tall buildings around courtyards."""
    green = rng.random() < 0.45
    paint_lawn(canvas, style)
    if not green:
        paint_paving(canvas, EVERYWHERE, np.ones_like(canvas.mask, bool),
                     jitter(rng, style.paving), 0.3, rng.choice((0.0, 1.5)))
    streets = street_grid(rng, canvas.extent, rng.uniform(42, 58), rng.uniform(7, 10),
                          rng.uniform(2, 3.2), rng.uniform(0, 3), cross=0.8)
    paint_streets(canvas, style, rng, streets)
    public = np.any([canvas.stroke(s.points, 2 * s.reach - 0.6) for s in streets], axis=0)
    with canvas.keep_clear(public):
        _set_rows(canvas, style, rng, streets)
        _fill_courtyards(canvas, style, rng, _direction(streets[0]), (LOW_VEGETATION,) if green else GROUND)
    paint_traffic(canvas, rng, streets, 0.3, 0.8)
    paint_street_trees(canvas, style, rng, streets, 0.45)


def industry(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Halls, yards, lorries, containers and heaps."""
    paint_lawn(canvas, style, dryness=0.4)
    streets = street_grid(rng, canvas.extent, rng.uniform(60, 85), rng.uniform(7, 9),
                          rng.choice((0, 2.0)), rng.uniform(0, 2), cross=0.5)
    angle = _direction(streets[0])
    # yards reach up to a grass verge along the streets, with gateways through it
    verge = np.any([canvas.stroke(s.points, 2 * s.reach + 6) for s in streets], axis=0)
    gates = np.mod(canvas.axis(angle) + rng.uniform(0, 30), rng.uniform(22, 34)) < 8
    yard = ~verge | gates
    yard &= canvas.coarse > rng.choice((-9.0, -1.0), p=(0.4, 0.6))
    if rng.random() < 0.5:
        paint_paving(canvas, EVERYWHERE, yard, jitter(rng, (0.46, 0.45, 0.42)), angle, 4.0)
    else:
        paint_asphalt(canvas, rng, yard, jitter(rng, style.asphalt, 0.2), 25)
    paint_streets(canvas, style, rng, streets)
    with canvas.keep_clear(verge):
        _fill_yards(canvas, style, rng, angle)
    paint_traffic(canvas, rng, streets, 0.3, 0.3)
    paint_street_trees(canvas, style, rng, streets, 0.25)
    scatter_trees(canvas, style, rng, 30, (0.8, 3.5))


def _fill_yards(canvas: Canvas, style: Style, rng: np.random.Generator, angle: float) -> None:
    def spot() -> np.ndarray:
        return canvas.anywhere(rng)

    def turned() -> float:
        return angle + rng.choice((0, np.pi / 2))

    for _ in range(90):
        half_u, half_v = rng.uniform(5, 18), rng.uniform(4, 12)
        place = (*spot(), turned())
        if canvas.is_free(*place, half_u + 2.5, half_v + 2.5, GROUND):
            kind = rng.choice(('flat', 'gable', 'saw', 'shed'), p=(0.5, 0.22, 0.18, 0.1))
            paint_building(canvas, style, rng, *place, half_u, half_v, rng.uniform(4, 10), kind, rng.choice(FLAT))
    for _ in range(14):
        paint_car_park(canvas, style, rng, *spot(), turned(), rng.uniform(6, 14),
                       rng.choice((2.5, 8.0)), rng.uniform(0.3, 0.9))
    for _ in range(rng.integers(5, 16)):
        (x, y), turn = spot(), turned()
        for k in range(rng.integers(1, 5)):
            paint_container(canvas, rng, x - 2.7 * k * np.sin(turn), y + 2.7 * k * np.cos(turn), turn, GROUND)
    for _ in range(rng.integers(0, 7)):
        paint_heap(canvas, style, rng, *spot(), GROUND)
    for _ in range(rng.integers(2, 9)):
        paint_goods(canvas, rng, *spot(), angle, GROUND)
    for _ in range(14):
        paint_car(canvas, rng, *spot(), turned(), (IMPERVIOUS,), 0.5)
