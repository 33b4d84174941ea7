"""RGB and BGR."""
import numpy as np
import pytest

from egmim_mm.band_order import swap_rgb_bgr


def test_three_bands_change_places_and_back():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    swapped = swap_rgb_bgr(image)
    assert swapped[0, 1].tolist() == [5, 4, 3]
    assert (swap_rgb_bgr(swapped) == image).all()


@pytest.mark.parametrize('bands', [1, 2, 4])
def test_other_numbers_of_bands_keep_their_order(bands):
    image = np.arange(4 * bands).reshape(2, 2, bands)
    assert (swap_rgb_bgr(image) == image).all()
