"""Detached houses and the plots they stand on: gardens, drives, terraces, hedges."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .buildings import paint_building
from .canvas import Canvas
from .classes import IMPERVIOUS, LOW_VEGETATION
from .ground import EVERYWHERE, lawn_map, paint_paving
from .objects import paint_car
from .streets import Street
from .style import Colour, Style, jitter
from .vegetation import paint_hedge


@dataclass
class Plot:
    """A house on its plot: centre and half sizes in metres; -v of its frame is the street."""

    x: float
    y: float
    angle: float
    half_u: float
    half_v: float
    setback: float   # house front to the edge of the street

    def world(self, u: float, v: float) -> tuple[float, float]:
        """World coordinates of a point of the house's frame."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.x + u * cos - v * sin, self.y + u * sin + v * cos


def plan_plots(canvas: Canvas, rng: np.random.Generator, streets: Sequence[Street]) -> list[Plot]:
    """Houses along both sides of every street, clear of all streets and of each other."""
    blocked = np.zeros_like(canvas.mask, bool)
    for street in streets:
        blocked |= canvas.stroke(street.points, 2 * street.reach)
    spacing = rng.uniform(15, 22)
    plots = []
    for street in streets:
        for side in (-1, 1):
            for station in street.stations(spacing, rng.uniform(0, spacing)):
                half_u = rng.uniform(4.2, min(7.5, spacing / 2 - 2))
                half_v, setback = rng.uniform(3.8, 5.8), rng.uniform(2.5, 7)
                place = street.beside(*station, side, street.reach + setback + half_v)
                angle = place[2] + rng.normal(0, 0.03)
                covered = canvas.rectangle(*place[:2], angle, half_u + 1.5, half_v + 1.5)
                if covered is not None and not blocked[covered[0]][covered[1]].any():
                    blocked[covered[0]] |= covered[1]
                    plots.append(Plot(*place[:2], angle, half_u, half_v, setback))
    return plots


def nearest_plot(canvas: Canvas, plots: Sequence[Plot]) -> np.ndarray:
    """Index of the plot that each pixel belongs to, (N, N) int."""
    owner = np.zeros(canvas.mask.shape, np.int64)
    nearest = np.full(canvas.mask.shape, np.inf, np.float32)
    for index, plot in enumerate(plots):
        distance = (canvas.x - np.float32(plot.x)) ** 2 + (canvas.y - np.float32(plot.y)) ** 2
        closer = distance < nearest
        owner[closer], nearest[closer] = index, distance[closer]
    return owner


def paint_gardens(canvas: Canvas, style: Style, rng: np.random.Generator, plots: Sequence[Plot],
                  owner: np.ndarray) -> None:
    """Every owner mows, waters and plants differently."""
    for index in range(len(plots)):
        region = owner == index
        rows, cols = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        dryness, tint = rng.normal(0, 0.7), jitter(rng, np.full(3, 0.9), 0.14, 0.04)
        mown = (plots[index].angle, rng.uniform(0.8, 1.4)) if rng.random() < 0.2 else None
        if len(rows):
            where = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
            lawn = lawn_map(canvas, style, dryness, mown, where)
            canvas.albedo[where][region[where]] = lawn[region[where]] * tint


def _bed(canvas: Canvas, style: Style, rng: np.random.Generator, plot: Plot) -> None:
    """Vegetable bed with rows behind the house; class low vegetation."""
    half_u, half_v = rng.uniform(1.5, 4), rng.uniform(1, 2.5)
    centre = plot.world(rng.uniform(-1, 1) * plot.half_u, plot.half_v + rng.uniform(6, 11))
    if canvas.is_free(*centre, plot.angle, half_u, half_v, (LOW_VEGETATION,)):
        where, u, v = canvas.frame(*centre, plot.angle, half_u + half_v)
        region = (np.abs(u) <= half_u) & (np.abs(v) <= half_v)
        rows = np.sin(2 * np.pi * u / 0.9) + 0.5 * canvas.mid[where]
        albedo = np.where((rows > 0.5)[..., None], style.grass[0], style.soil)
        albedo = albedo * (1 + 0.1 * canvas.fine[where])[..., None]
        canvas.put(where, region, LOW_VEGETATION, albedo, relief=0.1 * rows)


def build_plots(canvas: Canvas, style: Style, rng: np.random.Generator, plots: Sequence[Plot]) -> None:
    """Drives, terraces, garages, houses and sheds; streets are painted before."""
    for plot in plots:
        tone = jitter(rng, style.paving, 0.2, 0.05)
        side = rng.choice((-1, 1))
        drive_u = side * (plot.half_u + 1.4) if rng.random() < 0.6 else side * plot.half_u * 0.4
        front = -plot.half_v - plot.setback - 0.3
        back = -plot.half_v + (4.0 if abs(drive_u) > plot.half_u else 0.2)
        _pave(canvas, rng, plot, drive_u, (front + back) / 2, 1.5, (back - front) / 2, tone)
        if rng.random() < 0.6:
            width = plot.half_u * rng.uniform(0.4, 0.9)
            _pave(canvas, rng, plot, rng.uniform(-1, 1) * (plot.half_u - width),
                  plot.half_v + 1.2, width, rng.uniform(1.2, 2.4), jitter(rng, tone))
        if rng.random() < 0.5:
            _pave(canvas, rng, plot, 0.0, (front - plot.half_v) / 2, 0.6, (-plot.half_v - front) / 2, tone)
    for plot in plots:
        shape = rng.choice(('box', 'l', 't'), p=(0.66, 0.22, 0.12))
        across = rng.random() < 0.25
        place = (plot.x, plot.y, plot.angle + (np.pi / 2 if across else 0))
        size = (plot.half_v, plot.half_u) if across else (plot.half_u, plot.half_v)
        size = (max(size), min(size)) if shape == 'box' and not across else size
        paint_building(canvas, style, rng, *place, *size, rng.uniform(3, 6.2), shape=shape)
        side = rng.choice((-1, 1))
        u = side * (plot.half_u + 3.3)
        garage = plot.world(u, rng.uniform(-0.5, 1) * plot.half_v)
        if rng.random() < 0.45 and canvas.is_free(*garage, plot.angle, 1.8, 3.0, (LOW_VEGETATION, IMPERVIOUS)):
            paint_building(canvas, style, rng, *garage, plot.angle + np.pi / 2, 3.0, 1.7, 2.6,
                           rng.choice(('flat', 'gable')))
        shed = plot.world(rng.uniform(-1, 1) * plot.half_u, plot.half_v + rng.uniform(6, 10))
        if rng.random() < 0.4 and canvas.is_free(*shed, plot.angle, 1.8, 1.5, (LOW_VEGETATION,)):
            paint_building(canvas, style, rng, *shed, plot.angle, 1.6, 1.2, 2.2, rng.choice(('gable', 'shed')))
        if rng.random() < 0.35:
            _bed(canvas, style, rng, plot)
        if rng.random() < 0.6:
            for u in (plot.half_u + 1.4, -plot.half_u - 1.4, 0.4 * plot.half_u, -0.4 * plot.half_u):
                spot = plot.world(u, -plot.half_v - 2.6)
                if paint_car(canvas, rng, *spot, plot.angle + np.pi / 2, (IMPERVIOUS,)):
                    break


def _pave(canvas: Canvas, rng: np.random.Generator, plot: Plot, u: float, v: float, half_u: float, half_v: float,
          tone: Colour) -> None:
    covered = canvas.rectangle(*plot.world(u, v), plot.angle, half_u, half_v)
    if covered is not None:
        where, region = covered
        region = region & (canvas.mask[where] == LOW_VEGETATION)
        paint_paving(canvas, where, region, tone, plot.angle, rng.choice((0.0, 1.0)))


def draw_boundaries(canvas: Canvas, style: Style, rng: np.random.Generator, owner: np.ndarray, count: int,
                    hedges: float) -> None:
    """Hedges (share `hedges`) and fences between neighbouring plots."""
    reach = max(1, round(0.55 / canvas.metres_per_pixel))
    border, pair = np.zeros_like(canvas.mask, bool), np.zeros(owner.shape, np.int64)
    for axis in (0, 1):
        for shift in (-reach, reach):
            other = np.roll(owner, shift, axis)
            differs = other != owner
            border |= differs
            pair[differs] = (np.minimum(owner, other) * count + np.maximum(owner, other))[differs]
    planted = rng.random(count * count) < hedges
    uneven = canvas.fine + 0.5 * canvas.mid > -1.3
    paint_hedge(canvas, style, rng, border & planted[pair] & uneven)
    thin = np.zeros_like(border)
    thin[1:] |= owner[1:] != owner[:-1]
    thin[:, 1:] |= owner[:, 1:] != owner[:, :-1]
    thin &= ~planted[pair] & (canvas.mask == LOW_VEGETATION)
    canvas.put(EVERYWHERE, thin, None, jitter(rng, (0.36, 0.30, 0.24), 0.3), 1.2)
