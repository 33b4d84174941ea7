"""Streets: centrelines, carriageways, pavements, markings, squares and car parks."""
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import Canvas
from .classes import CAR, IMPERVIOUS, LOW_VEGETATION, WATER
from .ground import EVERYWHERE, paint_asphalt, paint_paving
from .objects import paint_car
from .style import Style, jitter

WHITE = np.float32((0.72, 0.72, 0.70))


@dataclass
class Street:
    """A street: points (P, 2) about 1 m apart, widths in metres (pavement 0 = none)."""

    points: np.ndarray
    width: float
    pavement: float
    marked: bool

    @property
    def reach(self) -> float:
        """Half width including the pavement, metres."""
        return self.width / 2 + self.pavement

    def stations(self, spacing: float, start: float = 0.0) -> list[tuple[float, float, float]]:
        """(x, y, direction) every `spacing` metres along the centreline."""
        steps = np.diff(self.points, axis=0)
        along = np.concatenate([[0], np.cumsum(np.hypot(*steps.T))])
        stations = np.arange(start, along[-1], spacing)
        segment = np.clip(np.searchsorted(along, stations, 'right') - 1, 0, len(steps) - 1)
        x, y = (np.interp(stations, along, values) for values in self.points.T)
        directions = np.arctan2(steps[segment, 1], steps[segment, 0])
        return list(zip(x.tolist(), y.tolist(), directions.tolist(), strict=True))

    def beside(self, x: float, y: float, direction: float, side: int, distance: float) -> tuple[float, float, float]:
        """Point at `distance` metres to one side (+1 or -1) and the angle that faces away."""
        x = x - side * distance * np.sin(direction)
        y = y + side * distance * np.cos(direction)
        return x, y, direction if side > 0 else direction + np.pi


def curve(rng: np.random.Generator, extent: float, angle: float, offset: float, bend: float) -> np.ndarray:
    """Gently bending line across the canvas; offset from its centre and bend in metres."""
    t = np.arange(-extent, extent, 1.0)
    wave = bend * np.sin(2 * np.pi * t / rng.uniform(90, 180) + rng.uniform(0, 6.3))
    along = np.array((np.cos(angle), np.sin(angle)))
    across = np.array((-along[1], along[0]))
    return extent / 2 + t[:, None] * along + (offset + wave)[:, None] * across


def street_grid(rng: np.random.Generator, extent: float, spacing: float, width: float, pavement: float, bend: float,
                cross: float = 0.6) -> list[Street]:
    """Bent parallel streets `spacing` metres apart, with a chance of streets that cross them."""
    angle = rng.uniform(0, np.pi)
    marked = rng.random() < 0.6
    streets = []
    shift = rng.uniform(-0.5, 0.5) * spacing
    for step in range(-3, 4):
        points = curve(rng, extent, angle, shift + step * spacing, bend)
        streets.append(Street(points, width, pavement, marked))
    if rng.random() < cross:
        offset = rng.uniform(-0.4, 0.4) * extent
        turn = np.pi / 2 + rng.normal(0, 0.12)
        points = curve(rng, extent, angle + turn, offset, bend * 0.5)
        streets.append(Street(points, width * rng.uniform(0.85, 1.25), pavement, marked))
    return streets


def _dashes(street: Street, offset: float, dash: int, gap: int) -> list[np.ndarray]:
    """Pieces of the line at `offset` metres from the centreline; gap 0 = one whole line."""
    directions = np.gradient(street.points, axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    line = street.points + offset * np.stack([-directions[:, 1], directions[:, 0]], 1)
    if not gap:
        return [line]
    return [line[i:i + dash + 1] for i in range(0, len(line) - dash, dash + gap)]


def paint_streets(canvas: Canvas, style: Style, rng: np.random.Generator, streets: Sequence[Street]) -> np.ndarray:
    """Pavements, carriageways, kerbs and markings of all streets."""
    water = (canvas.mask == WATER).astype(np.uint8)
    near_water = cv2.dilate(water, np.ones((9, 9), np.uint8)).astype(bool)
    roads = [canvas.stroke(street.points, street.width) for street in streets]
    road = np.any(roads, axis=0)
    crossing = np.sum(roads, axis=0) > 1
    tone = jitter(rng, style.paving, 0.1)
    for street in streets:
        if street.pavement:
            walk = canvas.stroke(street.points, 2 * street.reach) & ~road
            paint_paving(canvas, EVERYWHERE, walk, tone, 0.0, slab=rng.choice((0, 1.2)))
    kerbs = np.zeros_like(canvas.height)
    for street, own in zip(streets, roads, strict=True):
        paint_asphalt(canvas, rng, own, jitter(rng, style.asphalt, 0.08, 0.01))
        edge = canvas.stroke(street.points, street.width + 0.5) & ~road
        kerbs[edge] = 0.6 if street.pavement else 0.0
        rim = canvas.stroke(street.points, 2 * street.reach + 0.5) & near_water
        rim &= ~canvas.stroke(street.points, 2 * street.reach - 0.5)
        canvas.put(EVERYWHERE, rim, IMPERVIOUS, (0.50, 0.49, 0.46), 1.1)  # parapets of bridges
    canvas.blend(kerbs, np.float32((0.55, 0.54, 0.52)))
    for street, own in zip(streets, roads, strict=True):
        worn = np.zeros_like(canvas.height)
        for lane in (-0.25, 0.25):
            line = _dashes(street, lane * street.width, 0, 0)
            worn = np.maximum(worn, canvas.soft_lines(line, 1.4))
        canvas.blend(0.10 * worn * own, np.float32((0.12, 0.12, 0.12)))
    lines, edges = [], []
    for street in streets:
        if street.marked:
            lines += _dashes(street, 0.0, 3, rng.choice((0, 3, 5)))
            if street.width > 7:
                edges += [*_dashes(street, street.width / 2 - 0.4, 0, 0),
                          *_dashes(street, 0.4 - street.width / 2, 0, 0)]
    paint = canvas.soft_lines(lines + edges, 0.18) * road * ~crossing
    canvas.blend(rng.uniform(0.5, 0.85) * paint * (0.85 + 0.15 * canvas.mid).clip(0, 1), WHITE)
    for street in streets:
        if street.pavement and rng.random() < 0.35:
            _zebra(canvas, rng, street, road & ~crossing)
    return road


def _zebra(canvas: Canvas, rng: np.random.Generator, street: Street, road: np.ndarray) -> None:
    inside = [s for s in street.stations(1.0) if 4 < min(s[:2]) and max(s[:2]) < canvas.extent - 4]
    if not inside:
        return
    x, y, direction = inside[rng.integers(len(inside))]
    covered = canvas.frame(x, y, direction, street.width)
    if covered is None:
        return
    where, u, v = covered
    bars = (np.abs(u) < 1.6) & (np.abs(v) < street.width / 2) & (np.mod(v, 1.1) < 0.55)
    bars &= road[where]
    canvas.albedo[where][bars] += 0.75 * (WHITE - canvas.albedo[where][bars])


def paint_traffic(canvas: Canvas, rng: np.random.Generator, streets: Sequence[Street], density: float = 0.3,
                  parked: float = 0.5) -> None:
    """Driving cars in both lanes and cars parked along the kerb."""
    for street in streets:
        for side in (-1, 1):
            for x, y, direction in street.stations(11.0, rng.uniform(0, 11)):
                if rng.random() < density:
                    x, y, angle = street.beside(x, y, direction, side, street.width / 4)
                    # right-hand traffic: +v is to the right of +u in picture coordinates
                    paint_car(canvas, rng, x, y, angle, (IMPERVIOUS,))
            if street.pavement and rng.random() < parked:
                for x, y, direction in street.stations(6.2, rng.uniform(0, 6)):
                    if rng.random() < 0.55:
                        distance = street.width / 2 - 1.05
                        x, y, angle = street.beside(x, y, direction, side, distance)
                        paint_car(canvas, rng, x, y, angle, (IMPERVIOUS,), vans=0.1)


def paint_car_park(canvas: Canvas, style: Style, rng: np.random.Generator, x: float, y: float, angle: float,
                   half_u: float, half_v: float, fill: float = 0.6) -> bool:
    """Car park with rows of bays along u; False when the place is not free ground."""
    if not canvas.is_free(x, y, angle, half_u, half_v, (LOW_VEGETATION, IMPERVIOUS)):
        return False
    where, region = canvas.rectangle(x, y, angle, half_u, half_v)
    full = np.zeros_like(canvas.mask, bool)
    full[where] = region
    paint_asphalt(canvas, rng, full, jitter(rng, style.asphalt, 0.12, 0.02), repairs=2)
    cos, sin = np.cos(angle), np.sin(angle)

    def world(u: float, v: float) -> tuple[float, float]:
        return x + u * cos - v * sin, y + u * sin + v * cos

    lines, bay, depth = [], 2.6, 5.0
    row = -half_v + depth / 2
    while row <= half_v - depth / 2 + 0.01:
        for u in np.arange(-half_u, half_u + 0.01, bay):
            lines.append(np.array((world(u, row - depth / 2), world(u, row + depth / 2))))
        for u in np.arange(-half_u + bay / 2, half_u - bay / 2 + 0.01, bay):
            if rng.random() < fill:
                turn = np.pi / 2 * rng.choice((-1, 1)) + rng.normal(0, 0.03)
                wobble = rng.normal(0, 0.2)
                paint_car(canvas, rng, *world(u, row + wobble), angle + turn, (IMPERVIOUS,), 0.06)
        row += depth + 6.0
    opacity = 0.65 * canvas.soft_lines(lines, 0.12) * full * (canvas.mask != CAR)
    canvas.blend(opacity, WHITE)
    return True
