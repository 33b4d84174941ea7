"""Rows of pictures for a contact sheet: what EGMIM sees and makes of it, and what a segmentor predicts."""
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from egmim_mm.checkpoints import read_checkpoint, resolve_source
from egmim_mm.registry import MODELS

from .sheets import colorize, edge_to_rgb


def load_model(config: Path, source: Path) -> torch.nn.Module:
    """Model of a config with the weights of a checkpoint or work dir, in eval mode on the CPU.

    Raises:
        CheckpointError: Unreadable checkpoint.
        RuntimeError: Its keys are not those of the model.
    """
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.load_state_dict(read_checkpoint(resolve_source(str(source)))['state_dict'])
    return model.eval()


@torch.inference_mode()
def reconstruction_rows(config: Path, source: Path, images: Sequence[Path], size: int = 256,
                        seed: int = 0) -> list[list[np.ndarray]]:
    """One row per image: image, edge prior, masked image, reconstruction; each (size, size, 3) uint8.

    The top left ``size`` px square is shown; visible pixels of the reconstruction are the image's own.

    Args:
        config, source (Path): Config and checkpoint (or work dir) of an EGMIM run.
        images (Sequence[Path]): Image files of at least ``size`` px.
        size (int): px, a multiple of 32.
        seed (int): Seed of the masks.
    """
    model = load_model(config, source)
    model.set_iteration(1, 1, seed)  # the mask as at the end of training
    batch = torch.stack([torch.from_numpy(mmcv.imread(str(p))[:size, :size].transpose(2, 0, 1).copy()) for p in images])
    inputs = model.data_preprocessor(dict(inputs=batch, data_samples=[]))['inputs']
    shown = model.reconstruct(inputs)
    return [[
        _rgb(shown['image'][i]),
        edge_to_rgb(shown['edge'][i].numpy()),
        _rgb(shown['masked'][i]),
        _rgb(shown['reconstruction'][i])
    ] for i in range(len(images))]


def prediction_rows(masks: Sequence[Path], predictions: Sequence[Sequence[Path]], palette) -> list[list[np.ndarray]]:
    """One row per tile: truth, then the prediction of each model, painted with ``palette``.

    Args:
        masks (Sequence[Path]): Index masks (PNG).
        predictions (Sequence[Sequence[Path]]): Per model, predicted index maps (PNG) of the same tiles.
    """
    columns = [masks, *predictions]
    return [[colorize(mmcv.imread(str(column[i]), flag='unchanged'), palette) for column in columns]
            for i in range(len(masks))]


def _rgb(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    return (image.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
