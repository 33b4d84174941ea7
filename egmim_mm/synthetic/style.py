"""Everything that is the same all over one scene: sun, season, materials, sensor."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Colour = np.ndarray | Sequence[float]  # RGB reflectances: one, or a map (H, W, 3)

# Materials overlap in colour on purpose (slate and asphalt, clay tile and ploughed soil, moss roof
# and lawn, deep water and shadow): a network has to read texture and shape as well.
ROOFS = dict(
    clay=(0.50, 0.26, 0.18), old_clay=(0.40, 0.27, 0.21), brown=(0.33, 0.25, 0.20),
    slate=(0.27, 0.28, 0.30), cement=(0.42, 0.41, 0.39), asphalt=(0.30, 0.30, 0.30),
    bitumen=(0.18, 0.18, 0.19), metal=(0.60, 0.62, 0.63), white=(0.76, 0.75, 0.72),
    moss=(0.30, 0.34, 0.22), copper=(0.38, 0.50, 0.44), sand=(0.55, 0.48, 0.38))
PITCHED = ('clay', 'old_clay', 'brown', 'slate', 'cement', 'asphalt', 'moss', 'sand')
FLAT = ('cement', 'cement', 'asphalt', 'asphalt', 'bitumen', 'bitumen', 'metal', 'metal', 'slate',
        'white', 'moss', 'sand', 'copper')  # common ones more than once
CARS = ((0.80, 0.80, 0.80), (0.55, 0.56, 0.58), (0.33, 0.34, 0.36), (0.07, 0.07, 0.08),
        (0.50, 0.07, 0.06), (0.10, 0.16, 0.36), (0.46, 0.42, 0.33), (0.10, 0.24, 0.16),
        (0.20, 0.30, 0.42), (0.70, 0.68, 0.62))


@dataclass
class Style:
    """Per-scene choices. Colours are RGB reflectances in 0..1, angles are radians."""

    sun_azimuth: float     # direction TO the sun in the picture, 0 = right, pi / 2 = down
    sun_elevation: float
    grass: np.ndarray      # (3, 3): lush, usual, dry
    soil: np.ndarray       # (3,)
    asphalt: np.ndarray    # (3,)
    paving: np.ndarray     # (3,)
    crowns: np.ndarray     # (K, 3) colours of the tree species
    roofs: tuple           # names of pitched roofs that are common here
    water: np.ndarray      # (3,)


def jitter(rng: np.random.Generator, colour: Colour, brightness: float = 0.1, tint: float = 0.03) -> np.ndarray:
    """`colour` with random brightness and a little random tint, (3,) float32."""
    gain = 1 + brightness * rng.uniform(-1, 1) + tint * rng.uniform(-1, 1, 3)
    return (np.asarray(colour, np.float32) * gain.astype(np.float32)).clip(0.02, 0.95)


def draw_style(rng: np.random.Generator) -> Style:
    """Draw the style of one scene."""
    dryness = rng.beta(1.3, 2.0)
    lush = np.array((0.17, 0.27, 0.10))
    dry = np.array((0.46, 0.41, 0.26))
    usual = lush + (dry - lush) * (0.15 + 0.6 * dryness)
    grass = np.stack([lush * 0.5 + usual * 0.5, usual, dry * 0.5 + usual * 0.5])
    soils = ((0.42, 0.31, 0.22), (0.35, 0.26, 0.20), (0.47, 0.40, 0.30), (0.28, 0.22, 0.17), (0.43, 0.30, 0.22))
    species = np.array(((0.10, 0.17, 0.07), (0.14, 0.22, 0.08), (0.18, 0.25, 0.10),
                        (0.08, 0.14, 0.08), (0.21, 0.24, 0.12), (0.26, 0.22, 0.10)))
    chosen = rng.choice(len(species), 3, replace=False, p=(0.22, 0.26, 0.2, 0.16, 0.11, 0.05))
    waters = ((0.07, 0.11, 0.10), (0.10, 0.14, 0.10), (0.06, 0.09, 0.12), (0.16, 0.17, 0.12), (0.10, 0.17, 0.19))
    return Style(
        sun_azimuth=rng.uniform(0, 2 * np.pi),
        sun_elevation=np.deg2rad(rng.uniform(30, 60)),
        grass=np.stack([jitter(rng, colour) for colour in grass]),
        soil=jitter(rng, soils[rng.integers(len(soils))]),
        asphalt=jitter(rng, np.full(3, rng.uniform(0.22, 0.42)) * (1.01, 1.0, 0.99), 0.05, 0.02),
        paving=jitter(rng, ((0.45, 0.44, 0.42), (0.48, 0.42, 0.36), (0.42, 0.32, 0.27),
                            (0.52, 0.50, 0.45))[rng.integers(4)]),
        crowns=np.stack([jitter(rng, species[i], 0.15, 0.06) for i in chosen]),
        roofs=tuple(rng.choice(PITCHED, 3, replace=False)),
        water=jitter(rng, waters[rng.integers(len(waters))]))
