"""Oriented edges: orientations of stripes, against the structure tensor in NumPy, and no-data."""
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from egmim_mm.edges import image_gradient
from egmim_mm.edges.oriented import oriented_edges


@pytest.mark.parametrize('degrees', [0, 30, 45, 90, 135])
def test_stripes_have_their_orientation_and_full_coherence(degrees):
    y, x = torch.meshgrid(*[torch.arange(64.0)] * 2, indexing='ij')
    angle = math.radians(degrees)
    wave = 0.5 + 0.4 * torch.sin((x * math.cos(angle) + y * math.sin(angle)) / 4)
    maps = oriented_edges(wave.expand(1, 3, 64, 64), rhos=(6.0, ))[0, :, 32, 32]
    assert maps[0] > 0.8
    assert torch.allclose(maps[1:] / maps[0], torch.tensor([math.cos(2 * angle), math.sin(2 * angle)]), atol=0.05)


def test_maps_equal_their_definition():
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    dx, dy = image_gradient(image, 1.0)[0].numpy().astype(np.float64)
    maps = oriented_edges(image, rhos=(2.0, 6.0), sigma=1.0, floor=0.05)[0].numpy()
    for scale, rho in enumerate((2.0, 6.0)):
        xx, xy, yy = (gaussian_filter(a, rho, mode='mirror', radius=math.ceil(3 * rho))
                      for a in (dx * dx, dx * dy, dy * dy))
        strength = np.sqrt(xx + yy)
        top = max(np.sort(strength, axis=None)[math.ceil(0.99 * 4096) - 1], 0.05)
        strength = np.clip(strength / top, 0, 1)
        expected = [strength, strength * (xx - yy) / (xx + yy), strength * 2 * xy / (xx + yy)]
        np.testing.assert_allclose(maps[3 * scale:3 * scale + 3], expected, atol=2e-3)


def test_pixels_without_data_are_no_edges():
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(1, 1, 96, 96, dtype=torch.bool)
    valid[..., :20] = False
    holes = [oriented_edges(images.where(valid, value), valid=valid) for value in (0.0, math.nan)]
    assert torch.equal(*holes) and not holes[0][..., :24].any() and holes[0][..., 60:].any()
    assert not oriented_edges(torch.full((1, 3, 32, 32), 0.5)).any()
