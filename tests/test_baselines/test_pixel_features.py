"""Features of pixels, compared with scikit-image's."""
import numpy as np
import pytest
from skimage.feature import multiscale_basic_features

from egmim_mm.baselines.pixel_features import PER_BAND, pixel_features, shrunk_labels, shrunk_shape


def picture(height=48, width=40, bands=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands)).astype(np.uint8)


def test_at_full_scale_they_are_those_of_scikit_image():
    image = picture()
    assert np.array_equal(pixel_features(image), multiscale_basic_features(image, channel_axis=-1))


@pytest.mark.parametrize('bands', [1, 3, 4])
def test_size_and_number(bands):
    features = pixel_features(picture(49, 41, bands), 0.5)
    assert features.shape == (24, 20, PER_BAND * bands) and features.dtype == np.float32  # halves are rounded to even


def test_half_scale_averages_areas():
    image = picture(32, 32)
    halved = image.reshape(16, 2, 16, 2, 3).mean((1, 3))
    whole = multiscale_basic_features(np.rint(halved).astype(np.uint8), channel_axis=-1)
    assert np.abs(pixel_features(image, 0.5) - whole).max() < 0.02  # OpenCV rounds its halves another way


def test_a_flat_image_has_its_grey_and_no_edges():
    features = pixel_features(np.full((24, 24, 1), 51, np.uint8)).reshape(24, 24, 6, 4)
    assert features[..., 0] == pytest.approx(0.2, abs=1e-6)
    assert np.abs(features[..., 1:]).max() < 1e-6


def test_labels_are_picked_not_mixed():
    labels = np.kron(np.array([[0, 2], [255, 1]]), np.ones((8, 8), int)).astype(np.uint8)
    assert np.array_equal(shrunk_labels(labels, 0.25), np.kron([[0, 2], [255, 1]], np.ones((2, 2), int)))
    assert shrunk_shape((3, 1), 0.25) == (1, 1)
