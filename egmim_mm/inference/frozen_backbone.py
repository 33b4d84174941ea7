"""A backbone as a config describes it, and the images as it expects them."""
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.checkpoints import load_backbone
from egmim_mm.registry import MODELS

SCRATCH = 'scratch'


def build_backbone(cfg: Config, source: str, seed: int) -> nn.Module:
    """The config's backbone with random weights, then with those of ``source``.

    Args:
        cfg: Config with ``model.backbone``.
        source: Checkpoint or work dir; ``'scratch'`` keeps the random weights.
        seed: Seed of the random weights.
    """
    # Weights named in the config would hide what is being compared.
    backbone_cfg = {key: value for key, value in cfg.model.backbone.items()
                    if key not in ('init_cfg', 'pretrained')}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = MODELS.build(backbone_cfg)
        backbone.init_weights()
    if source != SCRATCH:
        print_log(str(load_backbone(backbone, source)), logger='current')
    return backbone


def crop_size(cfg: Config) -> int:
    """Side of the backbone's input, from its ``img_size``.

    Raises:
        ValueError: If the config does not say.
    """
    size = cfg.model.backbone.get('img_size')
    if size is None:
        raise ValueError('the config has no model.backbone.img_size: give --crop')
    return max(size) if isinstance(size, (tuple, list)) else int(size)


def standardizer(mean: Sequence[float], std: Sequence[float],
                 reverse_channels: bool = False) -> Callable[[np.ndarray], Tensor]:
    """The image normalisation of a data preprocessor.

    Args:
        mean: Mean of each channel, in the units of the image (0..255).
        std: Standard deviation of each channel.
        reverse_channels: Turn BGR into RGB (or back) first.

    Returns:
        A function from an (H, W, C) array to a (C, H, W) float32 tensor.
    """
    shift = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
    scale = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)

    def standardize(image: np.ndarray) -> Tensor:
        if reverse_channels:
            image = swap_rgb_bgr(image)
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
        return (tensor - shift) / scale

    return standardize


def preprocessing(cfg: Config) -> Callable[[np.ndarray], Tensor]:
    """The :func:`standardizer` of a config's data preprocessor."""
    pre = cfg.model.data_preprocessor
    return standardizer(pre.mean, pre.std, bool(pre.get('bgr_to_rgb') or pre.get('rgb_to_bgr')))
