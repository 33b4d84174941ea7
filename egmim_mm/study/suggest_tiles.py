"""Which tiles to label: tiles that differ from each other and are typical, or that a model is unsure of."""
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances, pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from egmim_mm.edges import edge_prior

__all__ = ['METHODS', 'MODEL_METHODS', 'WEIGHTED_METHODS', 'choose_tiles', 'image_statistics', 'pool_features',
           'read_statistics']

METHODS = ('typical_cluster', 'k_centre')
WEIGHTED_METHODS = (*METHODS, 'uncertainty')  # with weights: of a model
# of a model: by features alone, by weights alone, by both
MODEL_METHODS = (*WEIGHTED_METHODS, *(f'weighted_{method}' for method in METHODS))

SIDE = 256  # px: enough for colours and for how much structure there is, and quick to decode


def image_statistics(image: np.ndarray) -> np.ndarray:
    """Colours and edges of an image as 33 numbers.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (33,) float64: mean and standard deviation of R, G, B in [0, 1] (6); histograms of hue, weighted by saturation
        (8), of saturation (4) and of value (4), each with sum <= 1; of edge strength (4) and of edge strength averaged
        over 16-px cells (4); mean and standard deviation of edge strength, and of the cells' colour spread (3).
    """
    rgb = image.astype(np.float64) / 255
    hsv = np.asarray(Image.fromarray(image).convert('HSV'), np.float64) / 255
    hue, saturation, value = (hsv[..., i].ravel() for i in range(3))
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    edge = edge_prior(tensor, floor=0.05)[0, 0].double().numpy()  # the floor keeps flat images flat
    rows, columns = edge.shape[0] // 16 * 16, edge.shape[1] // 16 * 16
    cells = edge[:rows, :columns].reshape(rows // 16, 16, columns // 16, 16).mean(axis=(1, 3)).ravel()
    spread = rgb[:rows, :columns].reshape(rows // 16, 16, columns // 16, 16, 3).mean(axis=(1, 3)).std(axis=(0, 1))
    return np.concatenate([
        rgb.mean(axis=(0, 1)), rgb.std(axis=(0, 1)),
        _histogram(hue, 8, saturation), _histogram(saturation, 4), _histogram(value, 4),
        _histogram(edge.ravel(), 4), _histogram(cells, 4), [edge.mean(), edge.std(), spread.mean()]])


def _histogram(values: np.ndarray, bins: int, weights: np.ndarray | None = None) -> np.ndarray:
    return np.histogram(values, bins, (0, 1), weights=weights)[0] / values.size


def read_statistics(paths: Iterable[str | Path]) -> np.ndarray:
    """:func:`image_statistics` of files, shrunk to at most 256 px: (N, 33) float64.

    Raises:
        ValueError: A file that Pillow cannot read.
    """
    rows = []
    for path in paths:
        try:
            with Image.open(path) as image:
                image.draft('RGB', (2 * SIDE, 2 * SIDE))  # JPEG decodes at a fraction of the size
                image = image.convert('RGB')
                image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
                rows.append(image_statistics(np.asarray(image)))
        except (OSError, SyntaxError) as error:
            raise ValueError(f'{path}: cannot be read as an image ({error})') from error
    return np.stack(rows)


def choose_tiles(features: np.ndarray, count: int, method: str = 'typical_cluster', seed: int = 0,
                 labelled: Sequence[int] = (), weights: np.ndarray | None = None) -> list[int]:
    """Pick tiles to label.

    Args:
        features: (N, D) float; each column is brought to mean 0 and standard deviation 1 first.
        count: Tiles to pick, in [1, tiles that are not labelled].
        method: ``typical_cluster``: k-means with a cluster for each labelled and each picked tile; of those without a
            labelled tile, the largest first, the tile with the smallest mean distance to its nearest neighbours in the
            cluster (TypiClust: Hacohen et al., ICML 2022). ``k_centre``: always the tile farthest from all labelled and
            picked ones, without any the most central one first (Sener and Savarese, ICLR 2018); finds outliers first.
            ``uncertainty``: the largest weights.
        seed: Of k-means; ``k_centre`` without labelled tiles starts from a random tile for seeds above 0.
        labelled: Indices of tiles that have labels, which are not picked.
        weights: (N, ) of at least 0: how much there is to learn from a tile. In ``typical_cluster`` a cluster is as
            large as the sum of its weights, and distances are divided by the weight; in ``k_centre`` they are
            multiplied with it. None: all alike.

    Returns:
        Indices in the order of choice.

    Raises:
        ValueError: An unknown method, a count that cannot be had, or ``uncertainty`` without weights.
    """
    known = METHODS if weights is None else WEIGHTED_METHODS
    if method not in known:
        raise ValueError(f"unknown method '{method}'; there are {', '.join(known)}")
    held = sorted(set(labelled))
    if not 1 <= count <= len(features) - len(held):
        raise ValueError(f'{count} tiles cannot be chosen from {len(features) - len(held)}' + (
            f': {len(held)} of the {len(features)} are labelled' if held else ''))
    weights = np.ones(len(features)) if weights is None else np.asarray(weights, np.float64)
    if method == 'uncertainty':
        return _heaviest(weights, count, held)
    scaled = StandardScaler().fit_transform(features)
    return (_typical_cluster if method == 'typical_cluster' else _k_centre)(scaled, count, seed, held, weights)


def _heaviest(weights: np.ndarray, count: int, left_out: Sequence[int]) -> list[int]:
    order = np.argsort(-weights, kind='stable')
    return order[~np.isin(order, left_out)][:count].tolist()


def _typical_cluster(features: np.ndarray, count: int, seed: int, labelled: list[int],
                     weights: np.ndarray) -> list[int]:
    labels = KMeans(count + len(labelled), n_init=10, random_state=seed).fit_predict(features)
    clusters = [np.flatnonzero(labels == k) for k in np.setdiff1d(labels, labels[labelled])]
    clusters.sort(key=lambda cluster: (-weights[cluster].sum(), cluster[0]))
    chosen = [int(cluster[_most_typical(features[cluster], weights[cluster])]) for cluster in clusters[:count]]
    if len(chosen) < count:  # fewer different tiles than clusters
        chosen += _heaviest(weights, count - len(chosen), [*labelled, *chosen])
    return chosen


def _most_typical(features: np.ndarray, weights: np.ndarray, neighbours: int = 20) -> int:
    if len(features) == 1:
        return 0
    distances, _ = NearestNeighbors(n_neighbors=min(neighbours, len(features) - 1)).fit(features).kneighbors()
    return int((distances.mean(axis=1) / np.maximum(weights, np.finfo(float).tiny)).argmin())


def _k_centre(features: np.ndarray, count: int, seed: int, labelled: list[int], weights: np.ndarray) -> list[int]:
    chosen, nearest = list(labelled), np.full(len(features), np.inf)
    if labelled:
        nearest = pairwise_distances(features[labelled], features).min(axis=0)
    elif seed == 0:  # in chunks: all distances between fifty thousand tiles would take 19 GiB
        means = pairwise_distances_chunked(features, reduce_func=lambda chunk, _: chunk.mean(axis=1))
        chosen.append(int(np.concatenate(list(means)).argmin()))
    else:
        chosen.append(int(np.random.default_rng(seed).integers(len(features))))
    while len(chosen) < count + len(labelled):
        nearest = np.minimum(nearest, pairwise_distances(features[chosen[-1:]], features)[0])
        scores = nearest * weights
        scores[chosen] = -1
        chosen.append(int(scores.argmax()))
    return chosen[len(labelled):]


def pool_features(maps: Sequence[torch.Tensor]) -> np.ndarray:
    """Feature maps of one image, (1, C, h, w) each -> (sum of C,) float64: means over positions."""
    return torch.cat([feature.mean(dim=(0, 2, 3)) for feature in maps]).double().cpu().numpy()
