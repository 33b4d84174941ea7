"""How unsure a segmentation model is of an image. Pure functions of tensors."""
import math

from torch import Tensor

__all__ = ['disagreement', 'entropy']


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy of the classes at each pixel, as a share of that of K equally likely ones.

    Args:
        probabilities: (K, ...), adding up to 1, K of at least 2.

    Returns:
        (...) float32 in [0, 1].
    """
    # x log x is 0 at 0
    return -probabilities.float().xlogy(probabilities.float()).sum(0) / math.log(len(probabilities))


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Where two models find different classes: (K, ...) probabilities of each -> (...) bool."""
    return first.argmax(0) != second.argmax(0)
