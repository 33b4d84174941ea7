"""What a mask policy asks of the model: how far to look, and how much structure it hides and leaves."""
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from scipy import ndimage
from torch import Tensor

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.datasets import LoadTile, RandomScaledCrop, SampleIndex, UnlabeledTiles
from egmim_mm.datasets.position_seed import mix_seed
from egmim_mm.edges import edge_prior
from egmim_mm.masking import sample_mask
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table

STATISTICS = {
    'distance': 'mean distance from a hidden to the nearest visible pixel, px',
    'edge_hidden': 'share of the edge strength that is hidden',
    'strong_visible': 'share of the strongest 20 % edge pixels that stays visible',
    'largest': 'largest connected hidden area, share of the image'
}
POLICIES = {
    'random, 32 px': dict(policy='random', cell_size=32),
    'random, 16 px': dict(policy='random', cell_size=16),
    'random_adaptive, 32/16 px': dict(policy='random_adaptive'),
    'edge_adaptive, 32/16 px': dict(policy='edge_adaptive'),
    'edge_stratified, 16 px': dict(policy='edge_stratified', cell_size=16),
    'edge_topk, 16 px': dict(policy='edge_topk', cell_size=16),
    'edge_inverse, 16 px': dict(policy='edge_inverse', cell_size=16),
}


def mask_statistics(mask: np.ndarray, edge: np.ndarray, strong_share: float = 0.2) -> dict[str, float]:
    """Statistics of one sample, see ``STATISTICS``.

    Args:
        mask: (H, W) bool pixels, True = hidden; neither all nor none.
        edge: (H, W) edge strength, >= 0.
        strong_share: Share of the pixels that counts as strong edges. Pixels as strong as the weakest of them
            count too.
    """
    regions, number = ndimage.label(mask)  # 4-connected
    strong = edge >= np.quantile(edge, 1 - strong_share, method='higher')
    return dict(
        distance=float(ndimage.distance_transform_edt(mask)[mask].mean()),
        edge_hidden=float(edge[mask].sum() / max(edge.sum(), np.finfo(edge.dtype).tiny)),
        strong_visible=float((strong & ~mask).sum() / strong.sum()),
        largest=float(np.bincount(regions.ravel(), minlength=number + 1)[1:].max() / mask.size))


def random_crops(folder: str, number: int, size: int, seed: int = 0, include: str | None = None) -> Tensor:
    """Crops at native scale from the images below a folder, each image in turn.

    Args:
        folder, include: See :class:`egmim_mm.datasets.UnlabeledTiles`.
        number: Of crops.
        size: Side of a crop, px.
        seed: Of the order of the images and the places of the crops.

    Returns:
        (number, 3, size, size) float32 in [0, 1], RGB.

    Raises:
        FileNotFoundError: No images.
        TileReadError: An image is broken or smaller than ``size``.
    """
    tiles = UnlabeledTiles(folder, include=include, min_size=size,
                           pipeline=[LoadTile(), RandomScaledCrop(size, (1.0, 1.0))])
    order = np.random.default_rng(seed).permutation(len(tiles))
    crops = [tiles[SampleIndex(order[i % len(tiles)], mix_seed(seed, i))]['img'] for i in range(number)]
    return torch.from_numpy(swap_rgb_bgr(np.stack(crops)).copy()).permute(0, 3, 1, 2).float() / 255


def compare_policies(crops: Tensor, policies: Mapping[str, Mapping] = POLICIES, ratio: float = 0.6,
                     seed: int = 0) -> dict[str, dict[str, float]]:
    """Mean statistics of each policy over the same crops.

    Args:
        crops: (N, C, H, W) in [0, 1].
        policies: Name -> options of :func:`egmim_mm.masking.sample_mask`.
        ratio: Share of hidden tokens.
        seed: Of the masks.

    Returns:
        Policy -> statistic -> mean.
    """
    edge = edge_prior(crops)
    strength = edge[:, 0].numpy()
    result = {}
    for name, options in track(policies.items(), 'Policies', transient=True):
        masks = sample_mask(edge, ratio, generator=torch.Generator().manual_seed(seed), **options)
        token = edge.shape[-1] // masks.shape[-1]
        pixels = masks.repeat_interleave(token, 1).repeat_interleave(token, 2).numpy()
        rows = [mask_statistics(mask, values) for mask, values in zip(pixels, strength)]
        result[name] = {key: float(np.mean([row[key] for row in rows])) for key in STATISTICS}
    return result


def report_policies(folder: str, include: str | None, number: int, size: int, ratio: float, seed: int,
                    out: str) -> None:
    """Compare ``POLICIES`` on crops of a folder, print a table (Markdown) and write ``masks.json``."""
    rows = compare_policies(random_crops(folder, number, size, seed, include), ratio=ratio, seed=seed)
    write_json(Path(out) / 'masks.json', dict(
        rows=rows, meaning=STATISTICS, folder=folder, include=include, crops=number, size=size, ratio=ratio, seed=seed,
        versions=package_versions(), git=git_state()))
    cells = [(name, f'{row["distance"]:.1f}', *(f'{row[key]:.2f}' for key in list(STATISTICS)[1:]))
             for name, row in rows.items()]
    print_table(('policy', 'distance, px', 'edges hidden', 'strong visible', 'largest hidden area'), (), cells,
                style='markdown')
    for key, meaning in STATISTICS.items():
        print(f'{key}: {meaning}')
