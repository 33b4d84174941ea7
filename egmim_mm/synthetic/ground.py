"""Surfaces without height: grass, soil, crops, asphalt, paving, water."""
from typing import Any

import cv2
import numpy as np

from .canvas import Canvas, Window, fractal_noise
from .classes import IMPERVIOUS, LOW_VEGETATION, WATER
from .style import Colour, Style

EVERYWHERE = (slice(None), slice(None))


def mix(first: Colour, second: Colour, amount: np.ndarray) -> np.ndarray:
    """Blend two colours by an (H, W) amount in 0..1, giving (H, W, 3) float32."""
    amount = np.clip(amount, 0, 1).astype(np.float32)
    planes = []
    for band in range(3):  # band by band: numpy is slow over an inner axis of 3
        start, end = np.float32(first[..., band]), np.float32(second[..., band])
        planes.append(start + amount * (end - start))
    return cv2.merge(planes)


def tinted(colour: Colour, gain: np.ndarray) -> np.ndarray:
    """One colour times an (H, W) gain, giving (H, W, 3) float32."""
    return cv2.merge([np.float32(band) * np.float32(gain) for band in colour])


def lawn_map(canvas: Canvas, style: Style, dryness: float = 0.0, stripes: tuple[float, float] | None = None,
             where: Window = EVERYWHERE) -> np.ndarray:
    """Albedo of grass in a window, (H, W, 3); `stripes` is (angle, width in metres)."""
    fine, mid, coarse = canvas.fine[where], canvas.mid[where], canvas.coarse[where]
    patchy = 0.5 * coarse + 0.35 * mid + dryness
    albedo = mix(style.grass[0], style.grass[1], 0.6 + 0.45 * patchy)
    albedo = mix(albedo, style.grass[2], 0.45 * (patchy - 0.3))
    gain = 1 + 0.09 * fine + 0.06 * mid
    if stripes is not None:
        angle, width = stripes
        gain += 0.07 * np.sign(np.sin(np.pi / width * canvas.axis(angle)[where]))
    return albedo * gain[..., None]


def paint_lawn(canvas: Canvas, style: Style, region: np.ndarray | None = None, **options: Any) -> None:
    """Grass on `region` (default: everywhere); bare, trodden spots belong to it."""
    region = np.ones_like(canvas.mask, bool) if region is None else region
    albedo = lawn_map(canvas, style, **options)
    bare = (canvas.mid + 0.8 * canvas.coarse > 2.3)
    albedo[bare] = albedo[bare] * 0.4 + 0.6 * style.soil
    canvas.put(EVERYWHERE, region, LOW_VEGETATION, albedo)


def paint_field(canvas: Canvas, style: Style, rng: np.random.Generator, region: np.ndarray, angle: float,
                kind: str) -> None:
    """A field of one `kind` with rows along direction `angle`; always low vegetation."""
    across = canvas.axis(angle + np.pi / 2) + 0.25 * canvas.coarse
    wave = np.sin(2 * np.pi / rng.uniform(0.9, 2.0) * across)
    soil = style.soil * rng.uniform(0.8, 1.15)
    grain = (1 + 0.08 * canvas.fine + 0.06 * canvas.mid + 0.08 * canvas.coarse)[..., None]
    relief = 0.0
    if kind == 'ploughed':
        albedo, relief = soil * grain * (1 + 0.04 * wave[..., None]), 0.06 * wave
    elif kind == 'harrowed':
        albedo = soil * 1.15 * grain
    elif kind == 'rows':
        cover = rng.uniform(0.35, 0.7) + 0.3 * wave + 0.3 * canvas.mid + 0.2 * canvas.coarse
        albedo = mix(soil, style.grass[0], cover) * grain
        relief = 0.08 * wave
    elif kind == 'ripe':
        albedo = np.float32((0.52, 0.44, 0.25)) * grain * (1 + 0.04 * wave[..., None])
    elif kind == 'crop':
        tone = style.grass[0] * rng.uniform(0.75, 1.05)
        albedo = mix(tone, style.grass[1], 0.3 + 0.3 * canvas.coarse) * grain
        albedo *= 1 + 0.05 * wave[..., None]
        relief = 0.12 * canvas.fine
    else:
        albedo = lawn_map(canvas, style, dryness=rng.uniform(-0.5, 1.2))
    if kind in ('ripe', 'crop', 'rows') and rng.random() < 0.7:  # tramlines of the tractor
        spacing = rng.uniform(12, 20)
        phase = np.mod(across + rng.uniform(0, spacing), spacing)
        tracks = (np.abs(phase - 1.0) < 0.25) | (np.abs(phase - 2.8) < 0.25)
        albedo[tracks] = albedo[tracks] * 0.5 + soil * 0.5
    canvas.put(EVERYWHERE, region, LOW_VEGETATION, albedo, relief=relief)


def asphalt_map(canvas: Canvas, tone: Colour) -> np.ndarray:
    """Albedo of worn asphalt, (N, N, 3)."""
    gain = 1 + 0.045 * canvas.fine + 0.05 * canvas.coarse + 0.035 * canvas.mid
    return tinted(tone, gain)


def paint_asphalt(canvas: Canvas, rng: np.random.Generator, region: np.ndarray, tone: Colour, repairs: int = 6) -> None:
    """Asphalt with cracks and rectangular repairs on `region`."""
    canvas.put(EVERYWHERE, region, IMPERVIOUS, asphalt_map(canvas, tone))
    for _ in range(rng.poisson(repairs)):
        x, y = rng.uniform(0, canvas.extent, 2)
        covered = canvas.rectangle(x, y, rng.choice((0, 0.3, 0.9)), *rng.uniform(0.5, 2.5, 2))
        if covered is not None:
            where, patch = covered
            canvas.albedo[where][patch & region[where]] *= rng.uniform(0.8, 1.1)
    cracks = []
    for _ in range(rng.poisson(repairs)):
        steps = rng.normal(0, 0.6, (12, 2)) + rng.normal(0, 0.7, 2)
        cracks.append(rng.uniform(0, canvas.extent, 2) + np.cumsum(steps, 0))
    if repairs > 10:  # yards: tyre marks of turning lorries
        for _ in range(rng.poisson(6)):
            bend = np.cumsum(rng.normal(0, 0.05) + np.full(30, rng.uniform(0, 6.3) / 30))
            track = rng.uniform(0, canvas.extent, 2) + np.cumsum(np.stack([np.cos(bend), np.sin(bend)], 1), 0)
            marks = [track, track + 1.8 * np.array((-np.sin(bend[0]), np.cos(bend[0])))]
            canvas.blend(0.16 * canvas.soft_lines(marks, 0.35) * region, np.float32(tone) * 0.4)
    opacity = canvas.soft_lines(cracks, 0.1) * region * 0.3
    canvas.blend(opacity, np.float32(tone) * 0.55)


def paint_paving(canvas: Canvas, where: Window, region: np.ndarray, tone: Colour, angle: float,
                 slab: float = 0.0) -> None:
    """Slabs, concrete or gravel-like paving on `region` of window `where`."""
    gain = 1 + 0.05 * canvas.fine[where] + 0.05 * canvas.mid[where]
    if slab > 0:
        for turn in (0, np.pi / 2):
            joint = np.mod(canvas.axis(angle + turn)[where], slab) < canvas.metres_per_pixel
            gain = gain * np.where(joint, 0.86, 1.0)
    albedo = tinted(tone, gain)
    canvas.put(where, region, IMPERVIOUS, albedo)


def paint_water(canvas: Canvas, style: Style, rng: np.random.Generator, region: np.ndarray, bank: float = 1.5) -> None:
    """Water on `region` with a bank of `bank` metres of soil, reed and stones around it."""
    pixels = max(1, round(bank / canvas.metres_per_pixel))
    distance = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 3)
    rim = (distance < pixels * (1 + 0.5 * canvas.mid)) & ~region & (canvas.mask == LOW_VEGETATION)
    reed = mix(style.soil * 0.9, style.grass[0] * 0.8, 0.5 + 0.6 * canvas.mid)
    reed *= (1 + 0.12 * canvas.fine)[..., None]
    canvas.put(EVERYWHERE, rim, LOW_VEGETATION, reed, relief=0.15 * canvas.fine)
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 3) * canvas.metres_per_pixel
    shallow = np.exp(-depth / 1.5)
    ripples = fractal_noise(rng, region.shape, 6 / canvas.metres_per_pixel, 4, 0.45)
    albedo = mix(style.water, style.water * 0.6 + style.soil * 0.35, 0.8 * shallow)
    albedo *= (1 + 0.07 * ripples + 0.03 * canvas.fine)[..., None]
    canvas.put(EVERYWHERE, region, WATER, albedo, relief=0.012 * ripples)
