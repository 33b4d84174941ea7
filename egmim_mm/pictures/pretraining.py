"""Pictures for a contact sheet: what EGMIM sees and makes of a tile, and what a segmentor predicts."""
from collections.abc import Iterable, Sequence
from itertools import product
from math import ceil, lcm
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.nn import functional as F

from egmim_mm.checkpoints import CheckpointError, read_checkpoint, resolve_source
from egmim_mm.colors import Color
from egmim_mm.datasets.plain_tiles import Tile
from egmim_mm.models import EGMIM, EdgePrior
from egmim_mm.registry import MODELS

from .sheets import colorize, edge_to_rgb, hide_masked

Panels = dict[str, np.ndarray]  # column title -> (H, W, 3) uint8, RGB


def is_pretraining(cfg: Config) -> bool:
    """Whether the model of a config is one of EGMIM's, SimMIM among them."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        kind = MODELS.get(cfg.model.type)
    return kind is not None and issubclass(kind, EGMIM)


def build_model(cfg: Config) -> EGMIM:
    """The model of a pretraining config, in eval mode on the CPU.

    Raises:
        ValueError: The config is not one of EGMIM's.
    """
    if not is_pretraining(cfg):
        raise ValueError(f'{Path(cfg.filename).name} is no pretraining config: its model is {cfg.model.type}, and '
                         'edges, masks and reconstructions are those of egmim_mm.EGMIM')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model).eval()


def load_model(cfg: Config, source: str | Path) -> EGMIM:
    """:func:`build_model` with the weights of a checkpoint or work dir.

    Raises:
        ValueError: The config is not one of EGMIM's.
        CheckpointError: Unreadable checkpoint, or its weights are not those of the model.
    """
    model = build_model(cfg)
    path = resolve_source(str(source))
    state = read_checkpoint(path).get('state_dict', {})
    own = model.state_dict()
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    wrong += [key for key in state if key not in own]
    if wrong:
        raise CheckpointError(f"{path} does not hold the weights of this config's model (another config, or a "
                              f'fine-tuned segmentation model?): {len(wrong)} weights differ, the first is {wrong[0]}')
    model.load_state_dict(state)
    return model


def picture_unit(model: EGMIM) -> int:
    """What height and width of a picture must be multiples of, px: Swin's stride and the mask's cells."""
    return lcm(model.image_multiple, model.mask_generator.image_multiple)


def picture_size(model: EGMIM) -> int:
    """Side of a picture in px: the smallest multiple of the backbone's nominal size from 224 px on."""
    nominal = max(model.backbone.patch_embed.init_input_size)
    side = ceil(224 / nominal) * nominal
    return ceil(side / picture_unit(model)) * picture_unit(model)


@torch.no_grad()
def reconstruction_panels(model: EGMIM, tile: Tile, seed: int = 0) -> Panels:
    """Image, edge prior, masked image, reconstruction and, with a structure term, its edges.

    Visible pixels of the reconstruction are the image's own.

    Args:
        model: In eval mode.
        tile: (H, W, C) with sides that are multiples of :func:`picture_unit`.
        seed: Of the mask.
    """
    inputs = model_inputs(model, tile)
    shown = model.reconstruct(inputs, seed=seed)
    panels = {
        image_title(tile): _rgb(shown['image'][0]),
        'edge prior': _edge(shown['edge']),
        'masked': _rgb(shown['masked'][0]),
        'reconstruction': _rgb(shown['reconstruction'][0])
    }
    if 'structure' in model.terms:
        predicted = model.terms['structure'].predict(model.encode(inputs, seed=seed))[:, :1].float()
        panels['predicted edges'] = _edge(F.interpolate(predicted, size=inputs.shape[-2:], mode='nearest'))
    return panels


@torch.no_grad()
def edge_panels(model: EGMIM, tile: Tile, operators: Sequence[str] = ()) -> Panels:
    """Image and edge prior: the config's, or one for each operator (with the config's options for its own)."""
    inputs = model_inputs(model, tile)
    images, valid = model.images(inputs), model.valid(inputs, None)
    own = model.edge_prior
    looked = model.look(inputs, images)
    priors = {f'edge prior\n{own.operator}': own} if not operators else {
        name: own if name == own.operator else EdgePrior(name, own.floor) for name in operators}
    return {image_title(tile): _rgb(images[0]), **{
        title: _edge(prior(images, valid, looked)) for title, prior in priors.items()}}


@torch.no_grad()
def mask_rows(model: EGMIM, tiles: Sequence[Tile], policies: Sequence[str] = (), seeds: Sequence[int] = (0, ),
              progress: Sequence[float] = (1.0, )) -> tuple[list[str], list[list[np.ndarray]]]:
    """Each tile, its edge prior, and the tile under the masks of each policy, progress and seed.

    Args:
        model: Its mask generator's ratio and cells are used for every policy.
        tiles: (H, W, C) with sides that are multiples of :func:`picture_unit`.
        policies: Of ``egmim_mm.masking.POLICIES``; none: the config's.
        seeds: Of the masks; tile i has seed + i.
        progress: Shares of the training that are done, in [0, 1].

    Returns:
        Column titles, those of the masks with the hidden share; rows of (H, W, 3) uint8, RGB.

    Raises:
        ValueError: Unknown policy, or a progress outside [0, 1].
    """
    if not all(0 <= value <= 1 for value in progress):
        raise ValueError(f'progress must lie in [0, 1], got {list(progress)}')
    cases = list(product(policies or [model.mask_generator.options['policy']], progress, seeds))
    rows, shares = [], []
    for number, tile in enumerate(tiles):
        inputs = model_inputs(model, tile)
        images, valid = model.images(inputs), model.valid(inputs, None)
        edge, seen, _ = model.guidance(inputs, images, valid)
        masks = []
        for policy, done, seed in cases:
            generator = torch.Generator(edge.device).manual_seed(seed + number)
            draw = model.mask_generator.of_policy(policy)
            masks.append(draw(seen, done, generator, valid=valid)[0].cpu().numpy())
        image = _rgb(images[0])
        rows.append([image, _edge(edge), *(hide_masked(image, mask) for mask in masks)])
        shares.append([100 * mask.mean() for mask in masks])
    hidden = [f'{low:.1f} %' if round(low, 1) == round(high, 1) else f'{low:.1f} to {high:.1f} %'
              for low, high in zip(np.min(shares, 0), np.max(shares, 0))]
    titles = [f'{policy}\n{share} hidden\nprogress {done:g}, seed {seed}'
              for (policy, done, seed), share in zip(cases, hidden)]
    return [image_title(tiles[0]), 'edge prior', *titles], rows


def prediction_rows(masks: Sequence[Path], predictions: Sequence[Sequence[Path]],
                    palette: Sequence[Color]) -> list[list[np.ndarray]]:
    """One row per tile: truth, then the prediction of each model, painted with ``palette``.

    Args:
        masks: Index masks (PNG).
        predictions: Per model, predicted index maps (PNG) of the same tiles.
    """
    columns = [masks, *predictions]
    return [[colorize(mmcv.imread(str(column[i]), flag='unchanged'), palette) for column in columns]
            for i in range(len(masks))]


def as_rows(panels: Iterable[Panels]) -> tuple[list[str], list[list[np.ndarray]]]:
    """Titles and rows of a contact sheet from the panels of each tile."""
    panels = list(panels)
    titles = list(panels[0])
    return titles, [list(row.values()) for row in panels]


def model_inputs(model: EGMIM, tile: Tile) -> Tensor:
    """(H, W, C) -> what the model takes: (1, C, H, W) float, normalised, on its device."""
    batch = torch.from_numpy(np.ascontiguousarray(tile.image.transpose(2, 0, 1)))[None]
    return model.data_preprocessor(dict(inputs=batch, data_samples=[]))['inputs']


def image_title(tile: Tile) -> str:
    """'image', and which of its bands are shown if it has not one or three."""
    bands = tile.image.shape[2]
    return 'image' if bands in (1, 3) else f'image (bands 1-3 of {bands})' if bands > 3 else 'image (band 1 of 2)'


def _edge(edge: Tensor) -> np.ndarray:
    return edge_to_rgb(edge[0].cpu().numpy())


def _rgb(image: Tensor) -> np.ndarray:
    """(C, H, W) in [0, 1] -> (H, W, 3) uint8: the first three bands, or the first in grey."""
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    return (image.permute(1, 2, 0).cpu().numpy() * 255 + 0.5).astype(np.uint8)
