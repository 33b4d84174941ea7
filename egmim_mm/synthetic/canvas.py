"""What a scene is painted on: colour, class, height and relief of every pixel.

World coordinates are metres, x to the right and y down. An object works in its own frame: u runs
along its axis, v is u turned by +90 degrees (clockwise in the picture).
"""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np

from .classes import LOW_VEGETATION
from .style import Colour

_SUBPIXEL_BITS = 4
Window = tuple[slice, slice]  # rows and columns of a part of the canvas


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 4,
                  gain: float = 0.5) -> np.ndarray:
    """Smooth random field made of `octaves` layers, each half as wide as the one before.

    Args:
        rng: Source of randomness.
        shape: (H, W) of the field.
        cell: Width of the coarsest bumps, px.
        octaves: Number of layers; layers finer than 1 px are left out.
        gain: Amplitude ratio of one layer to the coarser one.

    Returns:
        (H, W) float32, zero mean, unit standard deviation.
    """
    field = np.zeros(shape, np.float32)
    amplitude = 1.0
    for _ in range(octaves):
        if cell < 1:
            break
        grid = [int(np.ceil(side / cell)) + 2 for side in shape]
        layer = rng.standard_normal(grid, dtype=np.float32)
        zoomed = cv2.resize(layer, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        field += amplitude * zoomed[:shape[0], :shape[1]]
        cell, amplitude = cell / 2, amplitude * gain
    return (field - field.mean()) / max(float(field.std()), 1e-6)


class Canvas:
    """Layers of one scene, all (N, N), painted in place.

    Attributes:
        albedo: (N, N, 3) float32, RGB reflectance, about 0..1.
        mask: (N, N) uint8, class of every pixel.
        height: (N, N) float32, metres above ground; casts the shadows.
        relief: (N, N) float32, metres; the part of the height whose slope is shaded (a roof without the wall below it).
        reserved: (N, N) bool, kept clear, see `keep_clear`.
        fine, mid, coarse: (N, N) float32 noise fields of the scene (unit deviation).
    """

    def __init__(self, rng: np.random.Generator, size: int, metres_per_pixel: float) -> None:
        self.size = size
        self.metres_per_pixel = metres_per_pixel
        self.extent = size * metres_per_pixel
        self.albedo = np.zeros((size, size, 3), np.float32)
        self.mask = np.full((size, size), LOW_VEGETATION, np.uint8)
        self.height = np.zeros((size, size), np.float32)
        self.relief = np.zeros((size, size), np.float32)
        self.reserved = np.zeros((size, size), bool)
        self.fine = fractal_noise(rng, (size, size), 2.5, 2)
        self.mid = fractal_noise(rng, (size, size), 9 / metres_per_pixel / 4, 4, 0.6)
        self.coarse = fractal_noise(rng, (size, size), 18 / metres_per_pixel, 5)
        rows, cols = np.mgrid[:size, :size].astype(np.float32)
        self.x = (cols + 0.5) * metres_per_pixel
        self.y = (rows + 0.5) * metres_per_pixel

    def axis(self, angle: float) -> np.ndarray:
        """Coordinate of every pixel along direction `angle` (radians), (N, N) float32 metres."""
        return self.x * np.float32(np.cos(angle)) + self.y * np.float32(np.sin(angle))

    def frame(self, x: float, y: float, angle: float, reach: float) -> tuple[Window, np.ndarray, np.ndarray] | None:
        """Window around (x, y) and the object coordinates inside it.

        Returns:
            (slices, u, v) with u, v float32 metres, or None outside the canvas.
        """
        x0, x1 = self._pixel(x - reach), self._pixel(x + reach)
        y0, y1 = self._pixel(y - reach), self._pixel(y + reach)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return None
        where = (slice(y0, y1), slice(x0, x1))
        dx, dy = self.x[where] - np.float32(x), self.y[where] - np.float32(y)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return where, dx * cos + dy * sin, dy * cos - dx * sin

    def anywhere(self, rng: np.random.Generator) -> np.ndarray:
        """Random point (x, y) of the canvas, metres."""
        return rng.uniform(0, self.extent, 2)

    def rectangle(self, x: float, y: float, angle: float, half_u: float,
                  half_v: float) -> tuple[Window, np.ndarray] | None:
        """Window and boolean region of a rectangle, or None where it covers no pixel."""
        covered = self.frame(x, y, angle, float(np.hypot(half_u, half_v)) + 0.5)
        if covered is None:
            return None
        where, u, v = covered
        region = (np.abs(u) <= half_u) & (np.abs(v) <= half_v)
        return (where, region) if region.any() else None

    def is_free(self, x: float, y: float, angle: float, half_u: float, half_v: float, allowed: Sequence[int]) -> bool:
        """Whether a rectangle touches the canvas and lies on free ground of classes `allowed`."""
        row, col = int(y // self.metres_per_pixel), int(x // self.metres_per_pixel)
        if 0 <= row < self.size and 0 <= col < self.size and (
                self.reserved[row, col] or self.mask[row, col] not in allowed):
            return False  # most places fail at their centre, which costs nothing to see
        covered = self.rectangle(x, y, angle, half_u, half_v)
        if covered is None:
            return False
        where, region = covered
        if self.reserved[where][region].any():
            return False
        accepted = np.zeros(256, bool)
        accepted[list(allowed)] = True
        return bool(accepted[self.mask[where][region]].all())

    @contextmanager
    def keep_clear(self, region: np.ndarray) -> Iterator[None]:
        """Nothing is placed on `region` (N, N) bool for a while: `is_free` says no there."""
        before, self.reserved = self.reserved, self.reserved | region
        try:
            yield
        finally:
            self.reserved = before

    def put(self, where: Window, region: np.ndarray, class_id: int | None, albedo: Colour,
            height: float | np.ndarray = 0.0, relief: float | np.ndarray = 0.0) -> None:
        """Paint `region` of window `where`; albedo, height, relief: a value or a map of the window.

        `class_id` None keeps the class, for markings and stains.
        """
        layers = [(self.albedo, albedo), (self.height, height), (self.relief, relief)]
        if class_id is not None:
            self.mask[where][region] = class_id
        for layer, value in layers:
            value = np.asarray(value, np.float32)
            is_map = value.ndim >= 2
            layer[where][region] = value[region] if is_map else value

    def stroke(self, points: np.ndarray, width: float, closed: bool = False) -> np.ndarray:
        """Pixels within width / 2 of a polyline, (N, N) bool; points (P, 2) and width in metres."""
        thickness = max(1, round(width / self.metres_per_pixel))
        region = np.zeros((self.size, self.size), np.uint8)
        cv2.polylines(region, [self._fixed(points)], closed, 1, thickness, shift=_SUBPIXEL_BITS)
        return region.astype(bool)

    def soft_lines(self, lines: Sequence[np.ndarray], width: float) -> np.ndarray:
        """Opacity of thin anti-aliased lines, (N, N) float32 in [0, 1]."""
        opacity = np.zeros((self.size, self.size), np.uint8)
        thickness = max(1, round(width / self.metres_per_pixel))
        fixed = [self._fixed(points) for points in lines]
        if fixed:
            cv2.polylines(opacity, fixed, False, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        return opacity.astype(np.float32) / 255

    def polygon(self, points: np.ndarray) -> np.ndarray:
        """Pixels inside a polygon, (N, N) bool; points (P, 2) in metres."""
        region = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(region, [self._fixed(points)], 1, shift=_SUBPIXEL_BITS)
        return region.astype(bool)

    def blend(self, opacity: np.ndarray, colour: Colour) -> None:
        """Mix `colour` into the albedo with (N, N) opacity; class and height stay."""
        touched = opacity > 0
        before = self.albedo[touched]
        change = np.asarray(colour, np.float32) - before
        self.albedo[touched] = before + opacity[touched][:, None] * change

    def _pixel(self, metres: float) -> int:
        return min(max(int(metres // self.metres_per_pixel), 0), self.size)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        pixels = np.asarray(points, np.float64) / self.metres_per_pixel - 0.5
        return np.round(pixels * (1 << _SUBPIXEL_BITS)).astype(np.int32).reshape(-1, 1, 2)
