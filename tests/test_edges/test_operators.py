"""Each operator against scipy.ndimage and scikit-image, and what holds for all of them. Canny: test_canny.py."""
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import feature, filters

from egmim_mm.edges import OPERATORS, edge_prior, edge_response, image_quantile, operator_options, supported


def photo(seed=0, channels=1, size=(64, 80)):
    """(1, C, H, W) float64 in [0, 1], smooth noise."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((1, channels, *size)), (0, 0, 2, 2))
    return torch.from_numpy((noise - noise.min()) / np.ptp(noise))


def blurred(image, sigma):
    return ndimage.gaussian_filter(image, sigma, mode='mirror', truncate=3) if sigma else image


def scharr(image, sigma):
    return filters.scharr(blurred(image, sigma)) / np.sqrt(2)  # scikit-image: twice the slope, over sqrt(2) axes


def laplacian(image, sigma):
    return np.abs(filters.laplace(blurred(image, sigma)))


def structure_tensor(image, sigma, rho):
    dy, dx = (ndimage.sobel(blurred(image, sigma), axis, mode='nearest') / 8 for axis in (0, 1))
    tensor = [ndimage.gaussian_filter(p, rho, mode='mirror', truncate=3) for p in (dy * dy, dy * dx, dx * dx)]
    large, small = feature.structure_tensor_eigenvalues(tensor)
    return np.sqrt(large + small) * (large - small) / (large + small)


@pytest.mark.parametrize('reference, options', [
    (scharr, dict(sigma=0)), (scharr, dict(sigma=2)),
    (laplacian, dict(sigma=0)), (laplacian, dict(sigma=2)),
    (structure_tensor, dict(sigma=1, rho=3)), (structure_tensor, dict(sigma=0, rho=2)),
])
@pytest.mark.parametrize('size', [(64, 80), (51, 37)])
def test_operator_equals_its_reference_up_to_the_border(reference, options, size):
    image = photo(1, size=size)
    found = edge_response(image, reference.__name__, **options)[0, 0].numpy()
    np.testing.assert_allclose(found, reference(image[0, 0].numpy(), **options), atol=1e-12)


@pytest.mark.parametrize('operator, sigma', [('sobel', 0), ('gaussian_sobel', 2)])
def test_sobel_equals_scikit_image(operator, sigma):
    image = photo(2)
    expected = filters.sobel(blurred(image[0, 0].numpy(), sigma)) / np.sqrt(2)
    np.testing.assert_allclose(edge_response(image, operator)[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize('operator', sorted(set(OPERATORS) - {'laplacian', 'canny'}))
def test_response_to_a_ramp_is_its_slope(operator):
    ramp = 0.01 * torch.arange(64.0).view(1, 1, 1, 64).expand(1, 1, 64, 64)
    for image in (ramp, ramp.transpose(2, 3)):
        centre = edge_response(image, operator)[..., 24:40, 24:40]
        torch.testing.assert_close(centre, torch.full_like(centre, 0.01), rtol=1e-4, atol=0)


def test_structure_tensor_tells_a_line_from_texture():
    line = torch.zeros(1, 1, 64, 64)
    line[..., 32:] = 1
    texture = torch.from_numpy(np.random.default_rng(0).random((1, 1, 64, 64))).float()

    def share(image):  # of the gradient energy that is coherent, in the middle
        options = dict(sigma=1.0, rho=3.0)
        coherent = edge_response(image, 'structure_tensor', **options)[..., 24:40, 29:35]
        energy = image_quantile(edge_response(image, 'gaussian_sobel', sigma=1.0)[..., 24:40, 29:35], 1.0)
        return (coherent / energy).mean().item()

    assert share(line) > 0.5 > 0.2 > share(texture)


@pytest.mark.parametrize('operator', OPERATORS)
def test_turned_and_mirrored_images_have_turned_and_mirrored_edges(operator):
    image = photo(3, 3)
    for move in (lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.rot90(1, (-2, -1))):
        torch.testing.assert_close(edge_response(move(image), operator), move(edge_response(image, operator)),
                                   rtol=0, atol=1e-12)


@pytest.mark.parametrize('operator', OPERATORS)
@pytest.mark.parametrize('channels', [1, 2, 13])
def test_any_other_number_of_bands_is_averaged(operator, channels):
    image = photo(4, channels)
    torch.testing.assert_close(edge_prior(image, operator), edge_prior(image.mean(1, keepdim=True), operator),
                               rtol=0, atol=1e-9)


@pytest.mark.parametrize('operator', OPERATORS)
def test_images_smaller_than_the_filters(operator):
    prior = edge_prior(photo(5, 3, (5, 7)).float(), operator, floor=0.002)
    assert prior.shape == (1, 1, 5, 7) and torch.isfinite(prior).all() and prior.max() <= 1


REACH = dict(gaussian_sobel=7, sobel=1, scharr=1, laplacian=7, canny=11, structure_tensor=13)


@pytest.mark.parametrize('operator', OPERATORS)
def test_support_is_valid_less_the_reach_of_the_filters(operator):
    valid = torch.ones(2, 1, 64, 80, dtype=torch.bool)
    valid[0, 0, 30:33, 50] = valid[1, 0, 0, 0] = False
    square = np.ones((2 * REACH[operator] + 1,) * 2)
    for mask, found in zip(valid, supported(valid, operator)):
        assert np.array_equal(found[0].numpy(), ~ndimage.binary_dilation(~mask[0].numpy(), square))


@pytest.mark.parametrize('operator', sorted(set(OPERATORS) - {'canny'}))
def test_support_is_exactly_what_a_pixel_does_not_reach(operator):
    image = photo(6)
    valid = torch.ones(1, 1, 64, 80, dtype=torch.bool)
    valid[..., 31, 42] = valid[..., 2, 3] = False  # one beside the border, where it is seen mirrored
    changed = image.where(valid, 1 - image)
    differs = (edge_response(image, operator) - edge_response(changed, operator)).abs() > 0
    kept = supported(valid, operator)
    assert not (differs & kept).any()
    column = (differs & ~kept)[0, 0].any(0).nonzero().flatten()
    # the filters do reach that far; their 3-sigma tails are small, but not nothing
    assert column.max().item() == 42 + REACH[operator] and column.min().item() == max(0, 3 - REACH[operator])


def test_options_are_completed():
    assert operator_options('structure_tensor', rho=2.0) == dict(sigma=1.0, rho=2.0)
    assert operator_options('sobel') == {}


@pytest.mark.parametrize('operator, options, message', [
    ('sobel', dict(sigma=2.0), "'sobel' has no option 'sigma'; its options are: none"),
    ('gaussian_sobel', dict(sigma=2.0, rho=1.0, low=0), "no option 'low', 'rho'; its options are: sigma"),
    ('gaussian_sobel', dict(sigma=-1.0), 'sigma = -1.0 must be a number, 0 or more'),
    ('structure_tensor', dict(rho=float('nan')), 'rho = nan must be a number'),
    ('structure_tensor', dict(rho=float('inf')), 'rho = inf must be a number'),
    ('gaussian_sobel', dict(sigma='2'), "sigma = '2' must be a number"),
    ('laplacian', dict(sigma=True), 'sigma = True must be a number'),
    ('canny', dict(low=0.3), 'low = 0.3 and high = 0.2 must be ordered'),
    ('canny', dict(high=1.5), 'at most 1'),
    ('roberts', {}, "unknown edge operator 'roberts'; choose one of gaussian_sobel, sobel, scharr"),
])
def test_bad_options_are_named(operator, options, message):
    with pytest.raises(ValueError, match=message):
        operator_options(operator, **options)
    with pytest.raises(ValueError, match=message):
        edge_prior(photo(), operator, **options)
