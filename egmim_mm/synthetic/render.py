"""From painted layers to a photograph: one sun, cast shadows, haze, sensor."""
import cv2
import numpy as np

from .canvas import Canvas
from .style import Style


def sun_vector(style: Style) -> np.ndarray:
    """Unit vector to the sun: x right, y down, z up."""
    flat = np.cos(style.sun_elevation)
    return np.array((flat * np.cos(style.sun_azimuth), flat * np.sin(style.sun_azimuth), np.sin(style.sun_elevation)))


def cast_shadows(height: np.ndarray, style: Style, metres_per_pixel: float) -> np.ndarray:
    """Where something towards the sun stands above the sun ray through a pixel.

    Args:
        height: (N, N) float32, metres.
        style: Gives the sun.
        metres_per_pixel: Ground size of a pixel.

    Returns:
        (N, N) float32, 0 in the light, 1 in full shadow, with a soft edge.
    """
    rise = metres_per_pixel * np.tan(style.sun_elevation)
    steps = int(np.ceil(float(height.max()) / rise))
    direction = np.array((np.cos(style.sun_azimuth), np.sin(style.sun_azimuth)))
    highest_ray = np.zeros_like(height)
    size = height.shape[0]
    for step in range(1, steps + 1):
        dx, dy = np.round(direction * step).astype(int)
        if max(abs(dx), abs(dy)) >= size:
            break
        to_y, to_x = slice(max(0, -dy), size - max(0, dy)), slice(max(0, -dx), size - max(0, dx))
        from_y, from_x = slice(max(0, dy), size + min(0, dy)), slice(max(0, dx), size + min(0, dx))
        target = highest_ray[to_y, to_x]
        np.maximum(target, height[from_y, from_x] - np.float32(step * rise), out=target)
    shadow = np.clip((highest_ray - height) / 0.25, 0, 1)
    return cv2.GaussianBlur(shadow, (0, 0), 0.7)


def shade_slopes(relief: np.ndarray, style: Style, metres_per_pixel: float) -> np.ndarray:
    """Sunlight on the slopes relative to flat ground, (N, N) float32; flat = 1."""
    slope_y, slope_x = np.gradient(relief, np.float32(metres_per_pixel))
    steepness = np.hypot(slope_x, slope_y)
    limit = 1.3 / np.maximum(steepness, 1.3)  # walls and crown rims are one-pixel cliffs
    slope_x, slope_y = slope_x * limit, slope_y * limit
    sun = sun_vector(style).astype(np.float32)
    facing = sun[2] - sun[0] * slope_x - sun[1] * slope_y
    facing /= np.sqrt(1 + slope_x ** 2 + slope_y ** 2)
    return np.maximum(facing, 0) / sun[2]


def render(canvas: Canvas, style: Style, rng: np.random.Generator, shadows: bool = True) -> np.ndarray:
    """Photograph of the canvas, (N, N, 3) uint8 RGB; the canvas is not changed.

    Args:
        canvas: Painted scene.
        style: Gives the sun.
        rng: illumination, haze, blur and noise of this flight.
        shadows: Cast shadows; off only to compare.
    """
    metres = canvas.metres_per_pixel
    shade = shade_slopes(canvas.relief, style, metres)
    if shadows:
        shadow = cast_shadows(canvas.height, style, metres)
    else:
        shadow = np.zeros_like(shade)
    # walls and crowns hide a part of the sky from the ground next to them
    around = cv2.blur(canvas.height, (15, 15))
    openness = 1 - 0.3 * np.clip((around - canvas.height) / 6, 0, 1)
    diffuse = rng.uniform(0.24, 0.42)
    sky = np.array((0.86, 0.98, 1.22), np.float32) * diffuse
    sun = np.array((1.04, 1.0, 0.93), np.float32) * (1 - diffuse)
    direct = (1 - 0.97 * shadow) * np.minimum(shade, 1.7)
    light = direct[..., None] * sun + openness[..., None] * sky
    radiance = canvas.albedo * light
    # the camera meters the scene, but not all the way: bright scenes stay brighter
    radiance *= np.float32(rng.uniform(0.85, 1.2) * (0.27 / canvas.albedo.mean()) ** 0.7)

    balance = (1 + rng.normal(0, 0.035, 3)).astype(np.float32)
    haze = np.float32(rng.uniform(0, 0.07))
    radiance = radiance * balance * (1 - haze) + haze * np.array((0.55, 0.62, 0.70), np.float32)
    radiance = cv2.GaussianBlur(radiance, (0, 0), rng.uniform(0.45, 0.85))
    image = np.clip(radiance, 0, None) ** np.float32(1 / rng.uniform(1.5, 2.0))
    contrast, saturation = rng.uniform(1.0, 1.3), rng.uniform(0.95, 1.35)
    image = (image - 0.45) * np.float32(contrast) + 0.45
    grey = image.mean(-1, keepdims=True)
    image = grey + (image - grey) * np.float32(saturation)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.float32(rng.uniform(0.004, 0.014))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
