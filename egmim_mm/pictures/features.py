"""Features of backbones as colours: three principal components of each backbone, alike ones in like colours."""
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from torch import Tensor, nn

from egmim_mm.datasets.plain_tiles import Tile
from egmim_mm.inference.frozen_backbone import build_backbone, preprocessing

from .pretraining import Panels, build_model, edge_panels, image_title, is_pretraining
from .training_data import display_image

COMPONENTS = 3  # red, green, blue
LARGEST = 1024  # side of the largest image that is shown whole, px: what a backbone takes at once on any machine


def feature_rows(cfg: Config, sources: Mapping[str, str], tiles: Sequence[Tile], stages: Sequence[int] = (3, ),
                 seed: int = 0) -> tuple[list[str], list[list[np.ndarray]]]:
    """Each tile, its edge prior, and the features of each backbone at its places as colours.

    The components of a backbone and the range of the colours are those of all places of all tiles together
    (:func:`principal_components`, :func:`as_colors`). The components of the second backbone and of those after it are
    turned to be as close as they get to those of the first (:func:`aligned`), so that two backbones whose features
    differ by a rotation look the same; colours of different stages have nothing to do with each other. A tile goes
    through a backbone whole.

    Args:
        cfg: Config with a backbone, of pretraining or segmentation.
        sources: Name -> checkpoint, work dir or ``'scratch'``, random weights.
        tiles: (H, W, C) with sides that are multiples of 32 px.
        stages: Numbers of the stages to show, from 1 on.
        seed: Of random weights.

    Returns:
        Column titles, those of features with the share of their variance that the three components hold. Rows of
        (H, W, 3) uint8, RGB: the image; the edge prior, if the config is of a pretraining that edges have an effect on;
        for each stage each backbone, (h, w, 3), a pixel for each place.

    Raises:
        ValueError: A stage that the backbone does not return, or too few places.
        CheckpointError: Unreadable checkpoint, or its weights do not fit the backbone.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        backbones = {name: build_backbone(cfg, source, seed) for name, source in sources.items()}
    panels, inputs = _images(cfg, tiles)
    stages = tuple(dict.fromkeys(stages))
    columns, first = {}, {}
    for name, backbone in backbones.items():
        for stage, maps in stage_maps(backbone, inputs, stages).items():
            places = np.concatenate([one.reshape(-1, one.shape[-1]) for one in maps])
            try:
                scores, share = principal_components(places)
            except ValueError as error:
                raise ValueError(f'stage {stage}: {error}') from None
            colors = as_colors(aligned(scores, first.setdefault(stage, scores)))
            ends = np.cumsum([one.shape[0] * one.shape[1] for one in maps])
            columns[stage, f'{name}\nstage {stage}, {100 * share:.0f} % of variance'] = [
                part.reshape(*one.shape[:2], COMPONENTS) for part, one in zip(np.split(colors, ends[:-1]), maps)]
    shown = sorted(columns, key=lambda column: stages.index(column[0]))  # keeps the order of the backbones
    titles = [*panels[0], *(title for _, title in shown)]
    return titles, [[*row.values(), *(columns[column][number] for column in shown)]
                    for number, row in enumerate(panels)]


@torch.no_grad()
def stage_maps(backbone: nn.Module, inputs: Sequence[Tensor], stages: Sequence[int]) -> dict[int, list[np.ndarray]]:
    """Feature maps of images that may differ in size: stage -> for each image (h, w, C) float32.

    Args:
        backbone: Returns a map for each of its ``out_indices``, numbers from 0 on. Left in eval mode.
        inputs: (1, bands, H, W) each, normalised.
        stages: From 1 on.

    Raises:
        ValueError: The backbone does not return one of the stages.
    """
    places = {index + 1: place for place, index in enumerate(backbone.out_indices)}
    for stage in stages:
        if stage not in places:
            raise ValueError(f'there is no stage {stage}: the backbone of the config returns the stages '
                             f'{", ".join(map(str, places))}')
    backbone.eval()
    maps: dict[int, list[np.ndarray]] = {stage: [] for stage in stages}
    for image in inputs:
        features = backbone(image)
        for stage in stages:
            maps[stage].append(features[places[stage]][0].permute(1, 2, 0).numpy())  # (C, h, w) -> (h, w, C)
    return maps


def principal_components(features: np.ndarray) -> tuple[np.ndarray, float]:
    """What the first three principal components are at each place, each with mean 0 and variance 1.

    Args:
        features: (N, C).

    Returns:
        (N, 3) float64, 0 where a component has no variance; and the share of the variance of all C channels that
        the three hold, in [0, 1].

    Raises:
        ValueError: Less than four places or three channels.
    """
    if len(features) <= COMPONENTS or features.shape[1] < COMPONENTS:
        raise ValueError(f'{len(features)} places with {features.shape[1]} channels have no three principal '
                         'components: show more or larger images, or a lower stage')
    features = features.astype(np.float64)  # the solver, the fast one for many places, squares the features
    with np.errstate(invalid='ignore'):  # of features that are the same everywhere it divides 0 by 0
        scores = PCA(COMPONENTS, svd_solver='covariance_eigh').fit_transform(features)
    deviation = scores.std(0)
    varies = deviation > 1e-5 * np.sqrt(np.square(features).sum(1).mean())  # by more than float32 rounds
    share = np.square(deviation[varies]).sum() / features.var(0).sum() if varies.any() else 0.0
    return np.divide(scores, deviation, out=np.zeros_like(scores), where=varies), float(share)


def aligned(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scores turned, and mirrored where that helps, to be as close as they get to others at the same places.

    The order and the sign of principal components are accidents; those of two backbones become comparable by the
    rotation R that minimises ``|scores R - reference|`` (orthogonal Procrustes; Schoenemann 1966). Of components with
    variance 1 that are not correlated, R makes components with variance 1 that are not correlated.

    Args:
        scores, reference: (N, 3).

    Returns:
        (N, 3).
    """
    return scores @ orthogonal_procrustes(scores, reference)[0]


def as_colors(scores: np.ndarray) -> np.ndarray:
    """Components as red, green and blue, each stretched from its 1 % quantile (0) to its 99 % quantile (255).

    Args:
        scores: (N, 3).

    Returns:
        (N, 3) uint8; a component that is the same everywhere is 128.
    """
    low, high = np.quantile(scores, (0.01, 0.99), axis=0)
    span = high - low
    shares = np.where(span > 0, (scores - low) / np.where(span > 0, span, 1), 0.5)
    return (255 * shares.clip(0, 1) + 0.5).astype(np.uint8)


def _images(cfg: Config, tiles: Sequence[Tile]) -> tuple[list[Panels], list[Tensor]]:
    """For each tile the panels before the features, and what the backbone takes."""
    preprocess, is_bgr = preprocessing(cfg), cfg.model.data_preprocessor.get('bgr_to_rgb', False)
    inputs = [preprocess(tile.image)[None] for tile in tiles]
    model = build_model(cfg) if is_pretraining(cfg) else None
    if model is not None and model.reads_edges:
        return [edge_panels(model, tile) for tile in tiles], inputs
    return [{image_title(tile): display_image(tile.image, is_bgr)} for tile in tiles], inputs
