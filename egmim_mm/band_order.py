"""RGB and BGR: the loaders of the stack give BGR, files, pictures and edges are RGB."""
import numpy as np

__all__ = ['swap_rgb_bgr']


def swap_rgb_bgr(image: np.ndarray) -> np.ndarray:
    """RGB becomes BGR and BGR becomes RGB; an image of more or fewer bands keeps their order.

    Args:
        image: (..., C); three bands are taken for colours.

    Returns:
        A view of the same shape; ``np.ascontiguousarray`` it for torch, which takes no negative strides.
    """
    return image[..., ::-1] if image.shape[-1] == 3 else image
