"""Is a representation collapsing? Statistics of feature vectors; pure functions on tensors.

The loss of a collapsing model can go on falling, so these are watched beside it.
"""
import torch
from torch import Tensor
from torch.nn import functional as F


def relative_std(features: Tensor) -> Tensor:
    """Spread of the directions of feature vectors (Chen & He, SimSiam, CVPR 2021, section 4.1).

    Vectors are scaled to length 1; the standard deviation of each channel over the vectors, averaged over the
    channels, is 1 / sqrt(D) for directions without any preference and 0 if all are the same. Here it is
    multiplied by sqrt(D), so that stages of different width compare.

    Args:
        features: (N, D) float, N >= 2.

    Returns:
        Scalar float64 in [0, 1].
    """
    unit = F.normalize(_checked(features), dim=1)
    return unit.std(0, unbiased=False).mean() * features.shape[1]**0.5


def mean_cosine(features: Tensor) -> Tensor:
    """Mean cosine similarity of all pairs of different vectors: 1 if all point the same way.

    Args:
        features: (N, D) float, N >= 2; a vector of zeros has cosine 0 with any other.

    Returns:
        Scalar float64 in [-1 / (N - 1), 1].
    """
    unit = F.normalize(_checked(features), dim=1)
    count = len(unit)
    # |sum of vectors|^2 = sum of all pairs' products; those of a vector with itself do not count
    return (unit.sum(0).square().sum() - unit.square().sum()) / (count * (count - 1))


def effective_rank(features: Tensor) -> Tensor:
    """Exponential of the entropy of the singular values, scaled to sum 1 (Roy & Vetterli, EUSIPCO 2007).

    The smooth rank that RankMe (Garrido et al., ICML 2023) uses to judge representations without labels. Vectors are
    not centred: when all are nearly the same, one singular value dominates and the rank is near 1.

    Args:
        features: (N, D) float, N >= 2.

    Returns:
        Scalar float64 in [1, min(N, D)]; 0 if all features are zero, NaN if one is not finite.
    """
    features = _checked(features)
    if not features.isfinite().all():
        return features.new_tensor(float('nan'))  # an eigenvalue solver raises on them
    # eigenvalues of the smaller Gram matrix: the same values as an SVD, for a fraction of its cost
    gram = features.T @ features if len(features) >= features.shape[1] else features @ features.T
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if not singular.any():
        return singular.sum()
    share = singular / singular.sum()
    return torch.exp(torch.special.entr(share).sum())


def feature_statistics(features: Tensor) -> dict[str, float]:
    """``effective_rank``, ``cosine`` and ``std`` of (N, D) features, see the functions of these names."""
    return dict(effective_rank=float(effective_rank(features)), cosine=float(mean_cosine(features)),
                std=float(relative_std(features)))


def is_collapsed(statistics: dict[str, float], max_cosine: float = 0.99, min_rank: float = 1.5) -> bool:
    """Whether the features are one vector, or one direction, for all practical purposes.

    A mean cosine of 0.99 is an angle of 8 degrees between two places, whatever they show. Two singular values of
    86 and 14 % give an effective rank of 1.5: one direction holds nearly everything.

    Args:
        statistics: Of :func:`feature_statistics`.
        max_cosine, min_rank: What is still accepted.
    """
    return not (statistics['cosine'] <= max_cosine and statistics['effective_rank'] >= min_rank)  # NaN is no health


def sample_positions(feature_map: Tensor, most: int = 64) -> Tensor:
    """At most ``most`` feature vectors of a map, on a regular grid.

    Args:
        feature_map: (1, D, h, w).
        most: A square number.

    Returns:
        (n, D), n <= most.
    """
    side = round(most**0.5)
    _, channels, height, width = feature_map.shape
    rows, columns = (torch.linspace(0, length - 1, min(side, length)).round().long().to(feature_map.device)
                     for length in (height, width))
    return feature_map[0][:, rows][:, :, columns].reshape(channels, -1).T


def _checked(features: Tensor) -> Tensor:
    """In float64.

    Raises:
        ValueError: Not (N, D) with N >= 2.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f'features must be (N, D) with at least two vectors, got {tuple(features.shape)}')
    return features.double()
