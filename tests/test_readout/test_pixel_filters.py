"""Features of pixels in torch, compared with scikit-image's and with those of the forest."""
import cv2
import numpy as np
import pytest
import torch
from skimage.feature import multiscale_basic_features

from egmim_mm.baselines.pixel_features import pixel_features
from egmim_mm.readout.pixel_filters import PER_BAND, filtered_maps


def picture(height, width, bands=3):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, bands)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5).reshape(height, width, bands)


def as_batch(image):
    return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))


@pytest.mark.parametrize('shape', [(97, 80, 3), (33, 21, 1), (7, 90, 4), (2, 3, 1)])
def test_they_are_those_of_scikit_image_up_to_the_borders(shape):
    image = picture(*shape)
    ours = filtered_maps(as_batch(image) / 255)[0].permute(1, 2, 0).numpy()
    assert ours.shape == (*shape[:2], PER_BAND * shape[2]) and ours.dtype == np.float32
    assert np.abs(ours - multiscale_basic_features(image, channel_axis=-1)).max() < 2e-6


@pytest.mark.parametrize('shape', [(96, 80, 3), (95, 77, 3)])
def test_at_half_scale_they_are_those_of_the_forest(shape):
    image = picture(*shape)
    ours = filtered_maps(as_batch(image) / 255, 0.5)[0].permute(1, 2, 0).numpy()
    # OpenCV rounds the shrunk image to whole grey levels, 1 / 255 apart
    assert np.abs(ours - pixel_features(image, 0.5)).max() < 1.1 / 255


def test_normalised_images_give_the_same_features_up_to_shift_and_factor():
    images, mean, std = as_batch(picture(40, 40)), 120.0, 57.0
    raw, normalised = filtered_maps(images / 255, 0.5), filtered_maps((images - mean) / std, 0.5)
    wanted = raw * (255 / std)
    wanted.unflatten(1, (3, 6, 4))[:, :, :, 0] -= mean / std
    assert torch.allclose(normalised, wanted, atol=1e-5)


@pytest.mark.parametrize('size', [(16, 12), (10, 7)])
def test_areas_are_averaged(size):
    images = as_batch(picture(64, 48)) / 255
    fine = filtered_maps(images, 0.5)[0].numpy()
    wanted = np.stack([cv2.resize(one, size[::-1], interpolation=cv2.INTER_AREA) for one in fine])
    assert np.abs(filtered_maps(images, 0.5, size)[0].numpy() - wanted).max() < 1e-5


def test_each_image_alone_gives_the_same_and_autocast_changes_nothing():
    images = torch.randn(3, 2, 32, 24, generator=torch.Generator().manual_seed(0))
    together = filtered_maps(images, 0.5, (8, 6))
    with torch.autocast('cpu', torch.bfloat16):
        alone = torch.cat([filtered_maps(image[None], 0.5, (8, 6)) for image in images])
    assert torch.allclose(together, alone, atol=1e-6)
