"""Thinning and edge tracking against scikit-image and connected components."""
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import feature

from egmim_mm.edges import edge_response, image_gradient
from egmim_mm.edges.canny import hysteresis, thin


def smooth_noise(seed, size=(72, 90), sigma=2.0):
    values = ndimage.gaussian_filter(np.random.default_rng(seed).random(size), sigma)
    return (values - values.min()) / np.ptp(values)


@pytest.mark.parametrize('seed', range(4))
def test_thinned_pixels_are_those_of_scikit_image(seed):
    image = smooth_noise(seed)
    # no smoothing, and thresholds that every pixel passes: what is left is the thinning
    expected = feature.canny(image, sigma=0, low_threshold=1e-12, high_threshold=1e-12, mode='nearest')
    found = thin(image_gradient(torch.from_numpy(image)[None, None]))[0, 0].numpy()
    assert 0.05 < expected.mean() < 0.3
    assert np.array_equal(found, expected)


@pytest.mark.parametrize('low, high', [(0.1, 0.2), (0.3, 0.9), (0.0, 1.0)])
def test_edges_are_those_of_scikit_image(low, high):
    image = smooth_noise(7)
    smoothed = ndimage.gaussian_filter(image, 2, mode='mirror', truncate=3)
    magnitude = np.hypot(ndimage.sobel(smoothed, 0, mode='nearest'), ndimage.sobel(smoothed, 1, mode='nearest'))
    top = np.quantile(magnitude, 0.99, method='inverted_cdf')
    expected = feature.canny(smoothed, sigma=0, low_threshold=low * top, high_threshold=high * top, mode='nearest')
    lines = np.where(expected, magnitude / 8, 0)
    for rho, strength in ((0, lines), (1, ndimage.gaussian_filter(lines, 1, mode='mirror', truncate=3))):
        found = edge_response(torch.from_numpy(image)[None, None], 'canny', low=low, high=high, rho=rho)
        np.testing.assert_allclose(found[0, 0].numpy(), strength, atol=1e-12)


def test_both_sides_of_an_ideal_step_are_kept():
    step = torch.zeros(1, 1, 9, 12)
    step[..., 6:] = 1
    kept = thin(image_gradient(step))[0, 0]
    assert kept[1:-1, 5:7].all() and kept.sum() == 2 * 7  # the outermost rows are never kept


def test_a_flat_image_has_nothing_to_keep():
    assert not thin(torch.zeros(2, 2, 8, 8)).any()


@pytest.mark.parametrize('seed', range(3))
def test_hysteresis_equals_connected_components(seed):
    rng = np.random.default_rng(seed)
    weak = rng.random((60, 60)) < 0.35  # near the threshold of percolation: long winding components
    strong = rng.random((60, 60)) < 0.01
    labels, _ = ndimage.label(weak, np.ones((3, 3)))
    expected = weak & np.isin(labels, np.unique(labels[strong & weak]))
    found = hysteresis(torch.from_numpy(weak)[None, None], torch.from_numpy(strong)[None, None])
    assert np.array_equal(found[0, 0].numpy(), expected)
    assert 0 < expected.sum() < weak.sum()


def test_hysteresis_follows_a_chain_to_its_end_in_its_own_image_only():
    weak = torch.zeros(2, 1, 41, 41, dtype=torch.bool)
    for row in range(0, 41, 2):  # a line that winds through the image, 860 px long
        weak[:, :, row] = True
        weak[:, :, row + 1:row + 2, 40 if row % 4 == 0 else 0] = True
    strong = torch.zeros_like(weak)
    strong[0, 0, 0, 0] = True
    found = hysteresis(weak, strong)
    assert torch.equal(found[0], weak[0]) and not found[1].any()


def test_a_hole_does_not_draw_an_outline():
    image = torch.from_numpy(smooth_noise(3))[None, None]
    valid = torch.ones_like(image, dtype=torch.bool)
    valid[..., 30:40, 30:40] = False
    plain, holed = (edge_response(image, 'canny', mask, low=0.0, high=0.0) for mask in (None, valid))
    # reach: Gaussian 6, Sobel 1, thinning 1, blur 3; lines are cut at 8 px, which the blur carries on to 11
    assert holed[..., 19:51, 19:51].max() == 0
    far = torch.ones_like(valid)
    far[..., 19:51, 19:51] = False
    assert torch.equal(holed[far], plain[far])
