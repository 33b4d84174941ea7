"""Suggestions of tiles to label as a list and a contact sheet."""
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from rich.progress import track

from egmim_mm.inference.frozen_backbone import build_backbone, crop_size, preprocessing
from egmim_mm.pictures.sheets import contact_sheet
from egmim_mm.records import write_whole
from egmim_mm.storage.image_files import find_images, matches_any
from egmim_mm.storage.tile_reading import read_image

from .suggest_tiles import choose_tiles, pool_features, read_statistics

__all__ = ['backbone_features', 'suggest']

COLUMNS = 5  # of the contact sheet


def suggest(folder: str, count: int, out_dir: str | Path, include: Sequence[str] | None = None,
            method: str = 'typical_cluster', config: str | None = None, backbone: str | None = None,
            seed: int = 0) -> list[str]:
    """Pick the ``count`` most useful tiles of a folder; write ``suggested.txt`` and ``suggested.jpg``.

    Args:
        folder: Images, no labels needed.
        count: Tiles to pick.
        out_dir: Folder of the two files.
        include: Shell patterns on the path without suffix.
        method, seed: See :func:`~.suggest_tiles.choose_tiles`.
        config: Segmentation config of ``backbone``.
        backbone: Checkpoint or work dir whose features are compared; None: colours and edges.

    Returns:
        Paths below ``folder`` without suffix, in the order of choice.

    Raises:
        FileNotFoundError: No such folder, or no images in it.
        ValueError: Only one of ``config`` and ``backbone``, a count that cannot be had, an unreadable image.
    """
    if (config is None) != (backbone is None):
        raise ValueError('--backbone and --config belong together: the config says how the backbone is built')
    files = [file for file in find_images(folder) if matches_any(include, file.rpartition('.')[0])]
    if not files:
        raise FileNotFoundError(f'no images in {folder}' + (f' that match {include}' if include else ''))
    paths = [str(Path(folder, file)) for file in files]
    if backbone is None:
        features = read_statistics(track(paths, 'colours and edges'))
    else:
        features = backbone_features(Config.fromfile(config), backbone, track(paths, 'features'))
    chosen = choose_tiles(features, count, method, seed)
    names = [files[i].rpartition('.')[0] for i in chosen]
    out_dir = Path(out_dir)
    write_whole(out_dir / 'suggested.txt', '\n'.join(names) + '\n')
    _sheet([paths[i] for i in chosen], names, out_dir / 'suggested.jpg')
    return names


def backbone_features(cfg: Config, source: str, paths: Iterable[str]) -> np.ndarray:
    """Mean features of all stages over windows at native scale: (N, D) float64.

    Nine windows (three by three, spread over the image) of the backbone's input size; fewer in small images.

    Raises:
        ValueError: An image that is smaller than a window.
        CheckpointError: The weights do not fit the backbone.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    backbone, crop = build_backbone(cfg, source, seed=0), crop_size(cfg)
    backbone.to(device).eval()  # no assignment: train() of OpenMMLab's backbones returns None
    preprocess = preprocessing(cfg)
    rows = []
    for path in paths:
        image = read_image(path)
        if min(image.shape[:2]) < crop:
            raise ValueError(f'{path}: {image.shape[0]} x {image.shape[1]} px (height x width) is smaller than a '
                             f'window of {crop} px; leave --backbone out')
        tops, lefts = (sorted({round(p) for p in np.linspace(0, side - crop, 3)}) for side in image.shape[:2])
        with torch.no_grad():
            windows = [pool_features(backbone(preprocess(image[top:top + crop, left:left + crop])[None].to(device)))
                       for top in tops for left in lefts]
        rows.append(np.mean(windows, axis=0))
    return np.stack(rows)


def _sheet(paths: Sequence[str], names: Sequence[str], path: Path) -> None:
    pictures = []
    for file in paths:
        with Image.open(file) as image:
            image = image.convert('RGB')
            image.thumbnail((256, 256))
            pictures.append(np.asarray(image))
    rows = [pictures[i:i + COLUMNS] for i in range(0, len(pictures), COLUMNS)]
    titles = [f'{i + 1}, {i + 1 + COLUMNS}, ...' if len(rows) > 1 else str(i + 1)
              for i in range(min(COLUMNS, len(pictures)))]
    contact_sheet(rows, titles, path, row_titles=[names[i] for i in range(0, len(pictures), COLUMNS)])
