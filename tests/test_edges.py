"""Edge priors against scipy.ndimage and a plain NumPy HOG."""
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from egmim_mm.edges import edge_prior, hog, image_gradient, luminance, normalize_strength


def photo(batch=1, channels=3, height=64, width=64, seed=0):
    """Smooth noise with values in [0, 1]: contents with gradients of every direction."""
    noise = np.random.default_rng(seed).random((batch, channels, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    low, high = smooth.min((2, 3), keepdims=True), smooth.max((2, 3), keepdims=True)
    return torch.from_numpy((smooth - low) / (high - low)).float()


def gray(image):
    """(3, H, W) -> (H, W) float64 luminance."""
    return np.tensordot([0.299, 0.587, 0.114], image.double().numpy(), 1)


def reference_gradient(image, sigma):
    values = gray(image)
    if sigma:
        values = ndimage.gaussian_filter(values, sigma, mode='mirror', truncate=3)
    return [ndimage.sobel(values, axis, mode='nearest') / 8 for axis in (1, 0)]


def reference_prior(image, sigma, floor=0.0):
    strength = np.hypot(*reference_gradient(image, sigma))
    top = np.quantile(strength, 0.99, method='inverted_cdf')
    return np.clip(strength / max(top, floor), 0, 1)


@pytest.mark.parametrize('operator, sigma', [('gaussian_sobel', 2.0), ('gaussian_sobel', 1.0), ('sobel', 0)])
@pytest.mark.parametrize('size', [(64, 64), (96, 61)])
def test_prior_equals_scipy_up_to_the_border(operator, sigma, size):
    # the whole image: mirrored for the Gaussian, continued constantly for Sobel, as the docstring says
    images = photo(2, 3, *size)
    options = dict(sigma=sigma) if sigma else {}
    prior = edge_prior(images, operator, **options)
    assert prior.shape == (2, 1, *size)
    for image, result in zip(images, prior):
        np.testing.assert_allclose(result[0].numpy(), reference_prior(image, sigma), atol=2e-5)


def test_gradient_has_direction_and_unit():
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16) * 0.01
    gradient = image_gradient(ramp)
    assert torch.allclose(gradient[:, 0, :, 1:-1], torch.tensor(0.01))  # d/dx per px
    assert gradient[:, 1].abs().max() < 1e-7
    assert torch.allclose(gradient[:, 0, :, 0], torch.tensor(0.005))  # half, where the border is continued


@pytest.mark.parametrize('operator', ['gaussian_sobel', 'sobel'])
@pytest.mark.parametrize('value', [0.0, 0.1, 0.3, 0.7, 1.0])
def test_flat_image_has_no_edges(operator, value):
    assert edge_prior(torch.full((2, 3, 64, 48), value), operator).abs().max() == 0


def test_floor_keeps_faint_noise_faint():
    images = 0.5 + 1e-3 * photo()
    assert edge_prior(images, 'sobel').max() == 1
    floored = edge_prior(images, 'sobel', floor=0.01)
    np.testing.assert_allclose(floored[0, 0].numpy(), reference_prior(images[0], 0, floor=0.01), atol=1e-4)
    assert floored.max() < 0.05


def test_quantile_is_per_image():
    strong = photo(seed=1)
    faint = 0.1 * strong
    alone = edge_prior(strong)
    together = edge_prior(torch.cat([strong, faint]))
    assert torch.allclose(together[:1], alone, atol=1e-5)
    assert torch.allclose(together[1:], alone, atol=1e-4)  # a faint copy has the same prior


def test_normalisation_takes_the_named_rank():
    strength = torch.arange(1.0, 101.0).view(1, 1, 10, 10)
    assert torch.equal(normalize_strength(strength), (strength / 99).clamp(max=1))
    assert torch.equal(normalize_strength(strength, quantile=0.5), (strength / 50).clamp(max=1))


def test_bands_are_reduced_to_luminance_or_mean():
    rgb = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).view(3, 3, 1, 1)
    assert torch.allclose(luminance(rgb).flatten(), torch.tensor([0.299, 0.587, 0.114]))
    four = photo(channels=4)
    assert torch.allclose(luminance(four), four.mean(1, keepdim=True))
    assert torch.allclose(edge_prior(four), edge_prior(four.mean(1, keepdim=True)), atol=1e-5)
    assert luminance(photo(channels=1)).shape == (1, 1, 64, 64)


def test_no_gradient_and_range():
    images = photo().requires_grad_()
    prior = edge_prior(images)
    assert not prior.requires_grad and not hog(images).requires_grad
    assert prior.min() >= 0 and prior.max() == 1


def test_mixed_precision_changes_nothing():
    images = photo()
    with torch.autocast('cpu', torch.bfloat16):
        prior, cells = edge_prior(images), hog(images)
    assert prior.dtype == cells.dtype == torch.float32
    assert torch.equal(prior, edge_prior(images)) and torch.equal(cells, hog(images))


@pytest.mark.parametrize('images', [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)])
def test_wrong_input_is_named(images):
    with pytest.raises(ValueError, match=r'floating \(B, C, H, W\)'):
        edge_prior(images)


def test_unknown_operator_is_named():
    with pytest.raises(ValueError, match="unknown edge operator 'prewitt'; choose one of gaussian_sobel, sobel"):
        edge_prior(photo(), 'prewitt')


def loop_hog(image, bins, cell):
    dx, dy = reference_gradient(image, 0)
    height, width = dx.shape
    cells = np.zeros((bins, height // cell, width // cell))
    for y in range(height):
        for x in range(width):
            angle = math.atan2(dy[y, x], dx[y, x]) % math.pi
            cells[int(angle / math.pi * bins) % bins, y // cell, x // cell] += math.hypot(dx[y, x], dy[y, x])
    cells /= cell**2
    return cells / np.maximum(np.linalg.norm(cells, axis=0), 1 / 255)


@pytest.mark.parametrize('bins, cell', [(9, 8), (6, 16)])
def test_hog_equals_a_loop(bins, cell):
    images = photo(2, height=32, width=48, seed=3)
    result = hog(images, bins, cell)
    assert result.shape == (2, bins, 32 // cell, 48 // cell)
    for image, cells in zip(images, result):
        np.testing.assert_allclose(cells.numpy(), loop_hog(image, bins, cell), atol=1e-4)


def test_hog_of_one_edge_fills_one_bin():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 4:] = 1  # vertical edge: the gradient points along x, angle 0
    cells = hog(image)
    assert torch.allclose(cells[0, 0, :, 0], torch.ones(2)) and cells[0, 1:, :, 0].abs().max() == 0
    assert cells[0, :, :, 1].abs().max() == 0
    assert torch.equal(hog(image.flip(-1)).flip(-1), cells)  # unsigned: the sign does not matter
