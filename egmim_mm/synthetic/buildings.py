"""Buildings: footprints made of rectangles, pitched and flat roofs, what stands on them."""
import numpy as np

from .canvas import Canvas, Window
from .classes import BUILDING
from .style import FLAT, ROOFS, Colour, Style, jitter


def _parts(rng: np.random.Generator, half_u: float, half_v: float,
           shape: str) -> list[tuple[float, float, float, float, bool]]:
    """Rectangles (u, v, half_u, half_v, ridge along u) that make up a footprint."""
    main = (0.0, 0.0, half_u, half_v, True)
    if shape == 'box':
        return [main]
    wing = half_v * rng.uniform(0.6, 0.85)
    corner, middle = rng.choice((-1, 1)) * (half_u - wing), rng.uniform(-0.3, 0.3) * half_u
    place = corner if shape == 'l' else middle
    return [main, (place, half_v * 0.75, wing, half_v * 1.1, False)]


def _roof_relief(du: np.ndarray, dv: np.ndarray, half_u: float, half_v: float, kind: str, pitch: float) -> np.ndarray:
    """Height of one roof over its eaves for coordinates relative to the part, metres."""
    if kind == 'gable':
        return pitch * (half_v - np.abs(dv))
    if kind == 'hip':
        return pitch * np.minimum(half_v - np.abs(dv), half_u - np.abs(du))
    if kind == 'half_hip':
        cut = half_u - np.abs(du) + 0.45 * half_v
        return pitch * np.minimum(half_v - np.abs(dv), cut)
    if kind == 'shed':
        return 0.35 * pitch * (half_v + dv)
    if kind == 'saw':
        return 0.3 * np.mod(du + half_u, 6.0)
    return np.zeros_like(du)


def paint_building(canvas: Canvas, style: Style, rng: np.random.Generator, x: float, y: float, angle: float,
                   half_u: float, half_v: float, wall: float, kind: str | None = None, roof: str | None = None,
                   shape: str = 'box') -> None:
    """One building; the caller has made sure that the place is free.

    Args:
        x, y, angle, half_u, half_v: centre, direction of the long side, half sizes, m.
        wall: Height of the eaves, metres.
        kind: 'gable', 'hip', 'half_hip', 'shed', 'saw' or 'flat'.
        roof: Key of `ROOFS`.
        shape: 'box', 'l' or 't'.
    """
    kind = kind or rng.choice(('gable', 'hip', 'half_hip', 'flat', 'shed'), p=(0.46, 0.24, 0.12, 0.12, 0.06))
    pitched = kind in ('gable', 'hip', 'half_hip')
    if roof is None:
        roof = rng.choice(style.roofs if pitched and rng.random() < 0.8 else FLAT)
    covered = canvas.frame(x, y, angle, float(np.hypot(half_u, half_v * 2.2)) + 1)
    if covered is None:
        return
    where, u, v = covered
    pitch = np.tan(np.deg2rad(rng.uniform(22, 42)))
    relief = np.full(u.shape, -1.0, np.float32)
    course = np.zeros(u.shape, np.float32)   # distance from the eaves: tile rows follow it
    along = np.zeros(u.shape, np.float32)    # coordinate along the eaves: seams follow it
    edge = np.full(u.shape, -1.0, np.float32)
    for cu, cv, au, av, straight in _parts(rng, half_u, half_v, shape):
        du, dv = u - cu, v - cv
        inside = np.minimum(au - np.abs(du), av - np.abs(dv))
        if not straight:
            du, dv, au, av = dv, du, av, au
        own = _roof_relief(du, dv, au, av, kind, pitch).astype(np.float32)
        wins = (inside >= 0) & (own > relief if pitched else relief < 0)
        relief[wins], along[wins] = own[wins], du[wins]
        course[wins] = (av - np.abs(dv))[wins]
        edge = np.maximum(edge, inside)
    region = edge >= 0
    if not region.any():
        return
    albedo = _roof_surface(canvas, rng, where, kind, roof, course, along, edge, half_v)
    height = wall + relief
    canvas.put(where, region, BUILDING, albedo, height, relief)
    if kind == 'flat':
        _flat_equipment(canvas, rng, x, y, angle, half_u, half_v, wall)
    elif kind == 'saw' or half_u > 14:
        _skylights(canvas, rng, where, u, v, region, half_u, half_v)
    elif pitched:
        _roof_furniture(canvas, rng, where, u, v, half_u, half_v, kind)


def _roof_surface(canvas: Canvas, rng: np.random.Generator, where: Window, kind: str, roof: str, course: np.ndarray,
                  along: np.ndarray, edge: np.ndarray, half_v: float) -> np.ndarray:
    base = jitter(rng, ROOFS[roof], 0.14, 0.04)
    metres = canvas.metres_per_pixel
    fine, mid, coarse = (layer[where] for layer in (canvas.fine, canvas.mid, canvas.coarse))
    if kind == 'flat':
        gain = 1 + 0.06 * fine + 0.05 * mid + 0.06 * coarse
        if rng.random() < 0.5:  # sheets of roofing felt
            gain -= 0.10 * (np.mod(along, rng.uniform(1.5, 3.0)) < metres)
    elif roof in ('metal', 'white', 'copper') or kind in ('saw', 'shed'):
        gain = 1 + 0.03 * fine + 0.04 * coarse
        gain -= 0.12 * (np.mod(along, rng.uniform(0.9, 1.6)) < metres)
    else:
        rows = np.sin(2 * np.pi * course / rng.uniform(0.75, 1.0))
        gain = 1 + 0.06 * rows + 0.06 * fine + 0.07 * mid + 0.05 * coarse
    albedo = base * gain[..., None].astype(np.float32)
    if roof in ('clay', 'old_clay', 'cement', 'sand') and rng.random() < 0.5:  # lichen
        lichen = np.clip(0.25 * (mid + coarse), 0, 0.5)[..., None]
        albedo = albedo * (1 - lichen) + lichen * np.float32((0.28, 0.28, 0.22))
    if kind in ('gable', 'half_hip', 'hip'):
        ridge = course > half_v - max(0.18, 0.6 * metres)
        albedo[ridge] *= rng.choice((0.82, 1.18))
    rim = edge < (0.45 if kind == 'flat' else 0.25)
    albedo[rim] *= rng.uniform(1.1, 1.35) if kind == 'flat' else rng.uniform(0.7, 0.9)
    return albedo


def _roof_furniture(canvas: Canvas, rng: np.random.Generator, where: Window, u: np.ndarray, v: np.ndarray,
                    half_u: float, half_v: float, kind: str) -> None:
    """Chimneys, roof windows, dormers and solar panels, all part of the building."""
    def add(region: np.ndarray, albedo: Colour, lift: float) -> None:
        region = region & (canvas.mask[where] == BUILDING)
        canvas.albedo[where][region] = albedo
        canvas.height[where][region] += np.float32(lift)

    reach = max(half_u - (half_v if kind == 'hip' else 1.0), 0.5)
    for _ in range(rng.integers(0, 3)):
        cu, cv = rng.uniform(-reach, reach), rng.uniform(-0.4, 0.4) * half_v
        box = (np.abs(u - cu) < 0.45) & (np.abs(v - cv) < 0.4)
        add(box, jitter(rng, ((0.4, 0.25, 0.2), (0.45, 0.44, 0.42))[rng.integers(2)]), 1.6)
    for _ in range(rng.integers(0, 4)):
        cu, side = rng.uniform(-reach, reach), rng.choice((-1, 1))
        pane = (np.abs(u - cu) < 0.45) & (np.abs(v - side * 0.55 * half_v) < 0.6)
        add(pane, np.float32((0.14, 0.18, 0.22)) * rng.uniform(0.7, 2.2), 0.0)
    if rng.random() < 0.2 and half_v > 3:
        side, cu = rng.choice((-1, 1)), rng.uniform(-0.2, 0.2) * half_u
        panel = (np.abs(u - cu) < 0.5 * reach) & (np.abs(v - side * 0.5 * half_v) < 0.28 * half_v)
        frame = (np.mod(u, 1.7) < 0.22) | (np.mod(v, 1.1) < 0.2)
        add(panel, np.float32((0.06, 0.08, 0.15)), 0.1)
        add(panel & frame, np.float32((0.16, 0.18, 0.22)), 0.0)
    if rng.random() < 0.25 and half_v > 4 and reach > 2:
        side, cu = rng.choice((-1, 1)), rng.uniform(-0.4, 0.4) * reach
        dv = side * v
        dormer = (np.abs(u - cu) < 1.3) & (dv > 0.3 * half_v) & (dv < 0.8 * half_v)
        dormer &= canvas.mask[where] == BUILDING
        ridge = np.clip(1.3 - np.abs(u - cu), 0, 1.3).astype(np.float32)
        top = canvas.relief[where].max() if dormer.any() else 0
        canvas.relief[where][dormer] = np.float32(0.55 * top) + 0.7 * ridge[dormer]
        canvas.height[where][dormer] += 0.8


def _flat_equipment(canvas: Canvas, rng: np.random.Generator, x: float, y: float, angle: float, half_u: float,
                    half_v: float, wall: float) -> None:
    """Air-conditioning units, domes and stair heads on a flat roof."""
    cos, sin = np.cos(angle), np.sin(angle)
    if min(half_u, half_v) < 3:
        return
    for _ in range(rng.poisson(min(half_u * half_v / 22, 9))):
        u, v = rng.uniform(-0.82, 0.82) * half_u, rng.uniform(-0.82, 0.82) * half_v
        size = rng.uniform(0.5, 1.3, 2)
        covered = canvas.rectangle(x + u * cos - v * sin, y + u * sin + v * cos, angle, *size)
        if covered is not None:
            where, region = covered
            tone = ((0.55, 0.55, 0.54), (0.72, 0.73, 0.74), (0.24, 0.28, 0.30))[rng.integers(3)]
            lift = rng.uniform(0.3, 1.5)
            region &= canvas.mask[where] == BUILDING
            canvas.put(where, region, None, jitter(rng, tone), wall + lift)


def _skylights(canvas: Canvas, rng: np.random.Generator, where: Window, u: np.ndarray, v: np.ndarray,
               region: np.ndarray, half_u: float, half_v: float) -> None:
    """Rows of translucent panels on a hall."""
    if rng.random() < 0.25:
        return
    spacing = rng.uniform(4.5, 7.5)
    strip = np.mod(u + half_u, spacing) < rng.uniform(0.8, 1.5)
    strip &= (np.abs(np.abs(v) - 0.5 * half_v) < 0.25 * half_v) & region
    tone = jitter(rng, (0.62, 0.66, 0.66), 0.2)
    canvas.albedo[where][strip] += 0.6 * (tone - canvas.albedo[where][strip])
