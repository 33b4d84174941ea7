"""A fitted forest as what makes maps, and the file it is kept in."""
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from egmim_mm.inference.pixel_classifier import PixelClassifier
from egmim_mm.records.provenance import file_sha256
from egmim_mm.records.whole_files import whole_file

from .forest import Forest
from .pixel_features import PER_BAND, pixel_features

__all__ = ['FOREST_FILE', 'ForestSegmenter', 'save_forest']

FOREST_FILE = 'forest.npz'
ARRAYS = tuple(field.name for field in fields(Forest))
DESCRIPTION = ('classes', 'palette', 'bands', 'scale')  # JSON values in the file
WINDOW = 1024  # px: margins of the widest filter are a small part of it


def save_forest(path: str | Path, forest: Forest, classes: Sequence[str], palette: Sequence[Sequence[int]], bands: int,
                scale: float) -> None:
    """Write a forest as arrays and text, whole or not at all.

    Args:
        path: File whose name ends in ``.npz``.
        forest: The trees.
        classes: K names.
        palette: K colours, RGB, 0..255.
        bands: Number of bands of the images.
        scale: See :func:`~.pixel_features.pixel_features`.
    """
    about = json.dumps(dict(classes=list(classes), palette=np.asarray(palette).tolist(), bands=bands, scale=scale))
    with whole_file(path) as draft:
        np.savez_compressed(draft, about=np.array(about), **vars(forest))


class ForestSegmenter(PixelClassifier):
    """A forest of :func:`save_forest` with the surface of :class:`~egmim_mm.inference.Segmenter`.

    Args:
        source: The file, or the work dir that holds it. It is read as arrays and text: nothing in it can run.
        tta: Average over the image and its two mirror images: three times the time.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no forest.
    """

    precision = 'float32'

    def __init__(self, source: str | Path, tta: bool = False) -> None:
        path = Path(source)
        path = path / FOREST_FILE if path.is_dir() else path
        self.forest, about = _read(path)
        self.classes, self.palette = tuple(about['classes']), np.array(about['palette'], np.uint8)
        self.bands, self.scale = about['bands'], about['scale']
        self.window, self.device, self.tta = WINDOW, torch.device('cpu'), tta
        self.weights_sha256 = file_sha256(path)

    def inputs(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2))

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logarithms of the probabilities, which the softmax turns back into them."""
        maps = []
        for image in inputs.numpy().transpose(0, 2, 3, 1):
            features = pixel_features(image, self.scale)
            rows, columns = features.shape[:2]
            shares = torch.from_numpy(self.forest.probabilities(features.reshape(rows * columns, -1)))
            shares = shares.T.reshape(1, -1, rows, columns)
            maps.append(F.interpolate(shares, image.shape[:2], mode='bilinear', align_corners=False))
        return torch.cat(maps).clamp(min=1e-12).log()


def _read(path: Path) -> tuple[Forest, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            forest = Forest(*(file[name] for name in ARRAYS))
            about = json.loads(str(file['about']))
        forest.check()
        missing = [key for key in DESCRIPTION if key not in about]
        if missing or len(about['classes']) != forest.values.shape[1] or \
                forest.num_features > PER_BAND * about['bands'] or not 0 < about['scale'] <= 1:
            raise ValueError(f'its description does not fit: {missing or about}')
    except FileNotFoundError:
        raise FileNotFoundError(f'{path} does not exist; tools/baseline.py forest writes it') from None
    except (KeyError, OSError, ValueError, TypeError, EOFError) as error:
        raise ValueError(f'{path} holds no forest of tools/baseline.py ({error})') from error
    return forest, about
