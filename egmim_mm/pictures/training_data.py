"""What a training pipeline yields: augmented views of the same tiles, with their labels in colour."""
from collections.abc import Mapping

import numpy as np
from mmengine.config import Config

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.colors import Color, default_palette, ignore_color
from egmim_mm.datasets import SampleIndex
from egmim_mm.datasets.plain_tiles import build_training_data, spread, tile_names, without_augmentation
from egmim_mm.datasets.position_seed import mix_seed

from .sheets import colorize


class TrainingViews:
    """Panels of the training data of a config.

    Args:
        cfg: Config with ``train_dataloader.dataset`` and ``model.data_preprocessor``.

    Raises:
        FileNotFoundError, TileReadError: As the data set.
    """

    def __init__(self, cfg: Config) -> None:
        self.dataset = build_training_data(cfg)
        # what the model is told about the order of the bands is true of the pictures as well
        self.is_bgr = (cfg.model.get('data_preprocessor') or {}).get('bgr_to_rgb', False)
        self.palette, self.ignore_color, self.legend = class_colors(self.dataset.metainfo)

    def rows(self, num: int, views: int, seed: int = 0) -> tuple[list[str], list[list[np.ndarray]], list[str]]:
        """At most ``num`` tiles spread over the data set, each whole and in ``views`` random views.

        Args:
            num: Tiles.
            views: Augmented views of each.
            seed: Of the augmentation.

        Returns:
            Column titles; for each tile its panels (H, W, 3) uint8, RGB: the tile (and its labels), then each view
            (and its labels); names of the tiles.
        """
        indices = spread(len(self.dataset), num)
        whole, rows = without_augmentation(self.dataset), []
        for index in indices:
            tile = whole[index]
            row = self._panels('tile', tile['img'], tile.get('gt_seg_map'))
            for view in range(views):
                sample = self.dataset[SampleIndex(index, mix_seed(seed, index, view))]
                labels = getattr(sample['data_samples'], 'gt_sem_seg', None)
                row |= self._panels(f'view {view + 1}', sample['inputs'].numpy().transpose(1, 2, 0),
                                    None if labels is None else labels.data[0].numpy())
            rows.append(row)
        return list(rows[0]), [list(row.values()) for row in rows], tile_names(self.dataset, indices)

    def _panels(self, name: str, image: np.ndarray, labels: np.ndarray | None) -> dict[str, np.ndarray]:
        panels = {name: display_image(image, self.is_bgr)}
        if labels is not None:
            panels[f'{name}: labels'] = colorize(labels, self.palette, self.ignore_color)
        return panels


def class_colors(metainfo: Mapping) -> tuple[list[Color], Color, dict[str, Color]]:
    """Palette of a data set, a colour that is not in it for ignored pixels, and the legend of both.

    Args:
        metainfo: ``classes``, and ``palette`` if the data set has one.
    """
    classes = metainfo.get('classes') or ()
    palette = [tuple(map(int, color)) for color in metainfo.get('palette') or default_palette(len(classes))]
    ignored = ignore_color(palette)
    return palette, ignored, dict(zip(classes, palette)) | ({'ignored': ignored} if classes else {})


def display_image(image: np.ndarray, is_bgr: bool) -> np.ndarray:
    """(H, W, C) -> (H, W, 3) uint8, RGB: the first three bands, or the first in grey.

    8-bit images as they are; of others the values between the 1st and the 99th percentile are stretched.
    """
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1].repeat(3, 2)
    if image.dtype != np.uint8:
        low, high = np.percentile(image, (1, 99))
        image = ((image - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(swap_rgb_bgr(image) if is_bgr else image)
