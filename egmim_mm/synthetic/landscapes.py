"""Plans of open land: fields and parks."""
import numpy as np

from .buildings import paint_building
from .canvas import Canvas, fractal_noise
from .classes import IMPERVIOUS, LOW_VEGETATION
from .ground import EVERYWHERE, paint_field, paint_lawn, paint_paving, paint_water
from .objects import paint_car, paint_court, paint_goods, paint_heap
from .streets import Street, curve, paint_car_park, paint_streets, paint_traffic
from .style import Style, jitter
from .vegetation import paint_street_trees, paint_tree, paint_wood, scatter_trees


def country(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Fields, a lane, perhaps a river, a farm and a wood."""
    paint_lawn(canvas, style)
    angle = rng.uniform(0, np.pi)
    across = canvas.axis(angle + np.pi / 2) + 1.0 * np.sin(canvas.axis(angle) / 30)
    along = canvas.axis(angle + rng.normal(0, 0.15))
    kinds = ('ploughed', 'harrowed', 'rows', 'ripe', 'crop', 'meadow')
    depth, length = rng.uniform(22, 45), rng.uniform(40, 90)
    row_of = np.floor((across + rng.uniform(0, 40)) / depth).astype(int)
    column_of = np.floor((along + 17.0 * row_of) / length).astype(int)
    plots = row_of * 1000 + column_of
    for plot in np.unique(plots):
        region = plots == plot
        paint_field(canvas, style, rng, region, angle + rng.choice((0, 0, np.pi / 2)),
                    rng.choice(kinds, p=(0.22, 0.1, 0.18, 0.12, 0.18, 0.2)))
    edges = np.zeros_like(region)
    edges[1:] |= plots[1:] != plots[:-1]
    edges[:, 1:] |= plots[:, 1:] != plots[:, :-1]
    rows, cols = np.nonzero(edges)
    if rng.random() < 0.6:
        wide = rng.uniform(6, 18)
        bed = curve(rng, canvas.extent, rng.uniform(0, np.pi), rng.uniform(-25, 25), rng.uniform(3, 9))
        paint_water(canvas, style, rng, canvas.stroke(bed, wide), rng.uniform(1.5, 4))
    turn = angle + rng.choice((0, np.pi / 2)) + rng.normal(0, 0.05)
    lane = Street(curve(rng, canvas.extent, turn, rng.uniform(-20, 20), rng.uniform(0, 4)),
                  rng.uniform(3.5, 7), 0.0, rng.random() < 0.5)
    paint_streets(canvas, style, rng, [lane])
    if rng.random() < 0.6:
        _farm(canvas, style, rng, lane)
    paint_traffic(canvas, rng, [lane], 0.15, 0.0)
    if rng.random() < 0.5:
        wood = fractal_noise(rng, canvas.mask.shape, 35 / canvas.metres_per_pixel, 3)
        paint_wood(canvas, style, rng, wood > rng.uniform(0.7, 1.3), rng.uniform(3.0, 5.0))
    if len(rows) and rng.random() < 0.6:
        for k in rng.integers(0, len(rows), rng.integers(5, 40)):
            x, y = (cols[k] * canvas.metres_per_pixel, rows[k] * canvas.metres_per_pixel)
            if canvas.is_free(x, y, 0, 1, 1, (LOW_VEGETATION,)):
                paint_tree(canvas, style, rng, x, y, rng.uniform(1, 3.5))
    paint_street_trees(canvas, style, rng, [lane], 0.3)


def _farm(canvas: Canvas, style: Style, rng: np.random.Generator, lane: Street) -> None:
    middle = [s for s in lane.stations(2.0) if 0 < min(s[:2]) and max(s[:2]) < canvas.extent]
    for station in rng.permutation(middle):
        x, y, angle = lane.beside(*station, rng.choice((-1, 1)), lane.reach + 14)
        if canvas.is_free(x, y, angle, 16, 13, (LOW_VEGETATION,)):
            break
    else:
        return
    where, u, v = canvas.frame(x, y, angle, 26)
    yard = (np.abs(u) < 16) & (np.abs(v) < 14.3) & (canvas.mask[where] == LOW_VEGETATION)
    paint_paving(canvas, where, yard, jitter(rng, style.paving), angle)
    for du, dv, half_u, half_v, turn in ((-9, 7, 7, 4.5, 0), (9, 6, 10, 5, np.pi / 2),
                                         (-10, -6, 5, 4, np.pi / 2), (2, 20, 12, 7, 0)):
        px = x + du * np.cos(angle) - dv * np.sin(angle)
        py = y + du * np.sin(angle) + dv * np.cos(angle)
        if rng.random() < 0.85 and canvas.is_free(px, py, angle + turn, half_u, half_v, (LOW_VEGETATION, IMPERVIOUS)):
            paint_building(canvas, style, rng, px, py, angle + turn, half_u, half_v,
                           rng.uniform(3.5, 7), rng.choice(('gable', 'half_hip', 'hip')))
    for _ in range(6):
        px, py = x + rng.uniform(-14, 14), y + rng.uniform(-14, 14)
        task = rng.integers(3)
        if task == 0:
            paint_heap(canvas, style, rng, px, py)
        elif task == 1:
            paint_goods(canvas, rng, px, py, angle)
        else:
            paint_car(canvas, rng, px, py, rng.uniform(0, 6.3), (IMPERVIOUS,), 0.4)


def park(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Mown grass, paths, a pond, courts, a car park and many trees."""
    stripes = (rng.uniform(0, np.pi), rng.uniform(2.5, 5)) if rng.random() < 0.6 else None
    paint_lawn(canvas, style, stripes=stripes)
    if rng.random() < 0.75:
        x, y = rng.uniform(0.2, 0.8, 2) * canvas.extent
        where, u, v = canvas.frame(x, y, rng.uniform(0, 3), canvas.extent * 2)
        radius = rng.uniform(8, 20)
        pond = np.hypot(u, v * rng.uniform(1, 2)) / radius + 0.2 * canvas.coarse < 1
        paint_water(canvas, style, rng, pond, rng.uniform(0.6, 2.5))
    paths = [Street(curve(rng, canvas.extent, rng.uniform(0, np.pi), rng.uniform(-25, 25), 6),
                    rng.uniform(1.8, 3.5), 0.0, False) for _ in range(rng.integers(1, 4))]
    tone = jitter(rng, ((0.5, 0.46, 0.38), style.paving, style.asphalt)[rng.integers(3)])
    for path in paths:
        paint_paving(canvas, EVERYWHERE, canvas.stroke(path.points, path.width), tone, 0.0)
    streets = []
    if rng.random() < 0.6:
        offset = rng.choice((-1, 1)) * canvas.extent * 0.33
        streets = [Street(curve(rng, canvas.extent, rng.uniform(0, np.pi), offset, 2), rng.uniform(6, 9), 1.8, True)]
        paint_streets(canvas, style, rng, streets)
    angle = rng.uniform(0, np.pi)
    for _ in range(6):
        if rng.random() < 0.5:
            paint_court(canvas, rng, *canvas.anywhere(rng), angle)
    for _ in range(5):
        paint_car_park(canvas, style, rng, *canvas.anywhere(rng), angle, rng.uniform(8, 16), 8.0)
    for _ in range(rng.integers(1, 6)):
        half_u, half_v, spot = rng.uniform(4, 12), rng.uniform(3, 7), canvas.anywhere(rng)
        if canvas.is_free(*spot, angle, half_u + 1, half_v + 1, (LOW_VEGETATION,)):
            paint_building(canvas, style, rng, *spot, angle, half_u, half_v, rng.uniform(3, 8))
    paint_traffic(canvas, rng, streets, 0.3, 0.6)
    wood = fractal_noise(rng, canvas.mask.shape, 25 / canvas.metres_per_pixel, 3)
    if rng.random() < 0.6:
        paint_wood(canvas, style, rng, wood > rng.uniform(0.6, 1.4), rng.uniform(3.5, 5.5))
    scatter_trees(canvas, style, rng, int(rng.uniform(20, 70)), (1.0, 5.0))
