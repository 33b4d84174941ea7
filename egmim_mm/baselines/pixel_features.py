"""Hand-made features of pixels: what ilastik's pixel classification and scikit-image's example of a trainable
segmentation compute. Pure functions."""
import cv2
import numpy as np
from skimage.feature import multiscale_basic_features

from egmim_mm.readout.pixel_filters import PER_BAND, SIGMAS, shrunk_shape

__all__ = ['PER_BAND', 'pixel_features', 'shrunk_labels', 'shrunk_shape']


def pixel_features(image: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Intensity, edges and texture at six scales, sigma 0.5 to 16 px, of each band.

    Args:
        image: (H, W, C) uint8; RGB, if there are three bands.
        scale: In (0, 1]: the image is shrunk by area averaging first, so that the filters reach further.

    Returns:
        (h, w, PER_BAND * C) float32 at the size of :func:`shrunk_shape`. For each band and sigma: the Gaussian-filtered
        band in [0, 1], its Sobel magnitude, and the two eigenvalues of its Hessian.
    """
    rows, columns = shrunk_shape(image.shape[:2], scale)
    if (rows, columns) != image.shape[:2]:
        image = cv2.resize(np.ascontiguousarray(image), (columns, rows), interpolation=cv2.INTER_AREA)
        image = image.reshape(rows, columns, -1)  # OpenCV drops an axis of one band
    return multiscale_basic_features(image, sigma_min=SIGMAS[0], sigma_max=SIGMAS[-1], channel_axis=-1)


def shrunk_labels(labels: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) uint8 labels -> (h, w): the label nearest to the centre of each pixel of the shrunk image."""
    rows, columns = shrunk_shape(labels.shape, scale)
    return cv2.resize(np.ascontiguousarray(labels), (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
