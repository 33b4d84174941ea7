"""Edge priors against scipy.ndimage and a plain NumPy HOG."""
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from egmim_mm.edges import (
    OPERATORS,
    edge_prior,
    edge_response,
    hog,
    image_gradient,
    image_quantile,
    luminance,
    normalize_strength,
    supported,
)


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


@pytest.mark.parametrize('operator', OPERATORS)
@pytest.mark.parametrize('value', [0.0, 0.1, 0.3, 0.7, 1.0])
def test_flat_image_has_no_edges(operator, value):
    assert edge_prior(torch.full((2, 3, 64, 48), value), operator).abs().max() == 0


def test_floor_keeps_faint_noise_faint():
    images = 0.5 + 1e-3 * photo()
    assert edge_prior(images, 'sobel').max() == 1
    floored = edge_prior(images, 'sobel', floor=0.01)
    np.testing.assert_allclose(floored[0, 0].numpy(), reference_prior(images[0], 0, floor=0.01), atol=1e-4)
    assert floored.max() < 0.05


@pytest.mark.parametrize('operator', OPERATORS)
def test_quantile_is_per_image(operator):
    strong = photo(seed=1).double()  # in float32, rounding decides a few ties of canny
    faint = 0.1 * strong
    alone = edge_prior(strong, operator)
    together = edge_prior(torch.cat([strong, faint]), operator)
    assert torch.allclose(together[:1], alone, atol=1e-5)
    # a faint copy has the same prior, but for responses that count as rounding (below 1e-6)
    assert torch.allclose(together[1:], alone, atol=5e-3 if operator in ('laplacian', 'canny') else 1e-4)


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


@pytest.mark.parametrize('operator', OPERATORS)
def test_no_gradient_and_range(operator):
    images = photo().requires_grad_()
    prior = edge_prior(images, operator)
    assert not prior.requires_grad and not edge_response(images, operator).requires_grad
    assert not hog(images).requires_grad
    assert prior.min() >= 0 and prior.max() == 1


@pytest.mark.parametrize('operator', OPERATORS)
def test_mixed_precision_changes_nothing(operator):
    images = photo()
    with torch.autocast('cpu', torch.bfloat16):
        prior, cells = edge_prior(images, operator), hog(images)
    assert prior.dtype == cells.dtype == torch.float32
    assert torch.equal(prior, edge_prior(images, operator)) and torch.equal(cells, hog(images))


@pytest.mark.parametrize('operator', OPERATORS)
def test_integer_images_are_scaled_to_their_range(operator):
    values = (photo(2) * 255).round().int()
    expected = edge_response(values.float() / 255, operator)
    assert torch.equal(edge_response(values.to(torch.uint8), operator), expected)
    # 257 x 255 = 65535: the same picture in 16 bits, whose upper half a signed type would turn negative
    sixteen = edge_response((values * 257).to(torch.uint16), operator)
    assert (values * 257).max() == 65535
    torch.testing.assert_close(sixteen, expected, rtol=0, atol=1e-6)


def test_half_precision_images_are_computed_in_float32():
    half = photo().half()
    assert torch.equal(edge_prior(half), edge_prior(half.float()))


def holes():
    """(3, 1, 64, 64) bool: a hole and a corner without data; no pixel at all; every pixel."""
    valid = torch.ones(3, 1, 64, 64, dtype=torch.bool)
    valid[0, 0, 20:24, 40:44] = valid[0, 0, :6, :9] = False
    valid[1] = False
    return valid


@pytest.mark.parametrize('operator', OPERATORS)
def test_pixels_without_data_are_left_out(operator):
    images, valid = photo(3, seed=4).double(), holes()  # in float32, rounding decides a few ties of canny
    prior = edge_prior(images, operator, valid=valid)
    kept = supported(valid, operator)
    assert not prior.where(kept, 0.0).isnan().any() and prior[~kept].abs().max() == 0
    assert prior[1].abs().max() == 0
    everything = edge_prior(images[2:], operator, valid=torch.ones_like(valid[2:]))
    assert torch.equal(everything, edge_prior(images[2:], operator))  # a mask without holes changes nothing
    for value in (0.0, 1.0, float('nan')):  # what stands in the holes does not matter
        filled = images.where(valid, value)
        assert torch.equal(edge_prior(filled, operator, valid=valid), prior)
    for i in range(3):  # nor does the rest of the batch
        alone = edge_prior(images[i:i + 1], operator, valid=valid[i:i + 1])
        torch.testing.assert_close(alone, prior[i:i + 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize('operator', sorted(set(OPERATORS) - {'canny'}))  # whose thresholds change with the image
def test_the_quantile_is_that_of_the_pixels_that_count(operator):
    images, valid = photo(3, seed=5), holes()
    images[0, :, :6, :9] = torch.rand(3, 6, 9, generator=torch.Generator().manual_seed(0))  # would be the strongest
    kept = supported(valid, operator)[0, 0].numpy()
    response = edge_response(images, operator)[0, 0].numpy()
    expected = np.where(kept, response / np.quantile(response[kept], 0.99, method='inverted_cdf'), 0).clip(0, 1)
    # responses below 1e-6 count as rounding and become 0
    np.testing.assert_allclose(edge_prior(images, operator, valid=valid)[0, 0].numpy(), expected, atol=5e-4)


@pytest.mark.parametrize('quantile', [0.01, 0.5, 0.99, 1.0])
def test_quantile_of_some_pixels(quantile):
    values = torch.rand(4, 1, 13, 17, generator=torch.Generator().manual_seed(0))
    valid = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    valid[2], valid[3] = False, False
    valid[3, 0, 4, 5] = True  # a single pixel
    found = image_quantile(values, quantile, valid).flatten()
    for i in (0, 1, 3):
        expected = np.quantile(values[i][valid[i]].numpy(), quantile, method='inverted_cdf')
        assert found[i].item() == pytest.approx(expected, abs=0)
    assert found[2] == 0
    everything = torch.ones_like(valid)
    assert torch.equal(image_quantile(values, quantile, everything), image_quantile(values, quantile))


@pytest.mark.parametrize('valid', [torch.ones(1, 1, 64, 63, dtype=torch.bool), torch.ones(1, 3, 64, 64).bool(),
                                   torch.ones(1, 1, 64, 64)])
def test_wrong_valid_is_named(valid):
    with pytest.raises(ValueError, match=r'valid must be a bool \(1, 1, 64, 64\) tensor, got torch\.'):
        edge_prior(photo(), valid=valid)


@pytest.mark.parametrize('images', [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.int64)])
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
