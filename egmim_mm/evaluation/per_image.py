"""The counts of every test image, in a file beside ``results.json``: what two runs are compared by."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from egmim_mm.records.whole_files import whole_file

__all__ = ['PER_IMAGE_FILE', 'image_names', 'read_per_image', 'write_per_image']

PER_IMAGE_FILE = 'per_image.npz'


def image_names(dataset: Any) -> list[str]:
    """Names of the images of a data set, in its order: tile names, or paths without suffix, or numbers."""
    if not hasattr(dataset, 'get_data_info'):
        return [str(index) for index in range(len(dataset))]
    names = []
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        names.append(sample.get('tile_name') or str(Path(sample.get('img_path', str(index))).with_suffix('')))
    return names


def write_per_image(path: str | Path, names: Sequence[str], counts: Mapping[str, np.ndarray]) -> bool:
    """Write the counts of N images as a compressed ``.npz`` file, whole or not at all.

    Args:
        path: The file; one that is there is replaced, or removed if there are no counts.
        names: N image names.
        counts: ``confusion``, (N, K, K); ``boundary_iou_<w>``, (N, 2, K): intersections and unions;
            ``boundary_f1_<t>px``, (N, 4, K), see :func:`~egmim_mm.evaluation.boundary_matches`. All integers, px.

    Returns:
        Whether the file is there.

    Raises:
        ValueError: An array that does not have one row for each image.
    """
    if not counts:
        Path(path).unlink(missing_ok=True)
        return False
    for key, array in counts.items():
        if len(array) != len(names):
            raise ValueError(f'{key} holds the counts of {len(array)} images, but the data set has {len(names)}')
    with whole_file(path) as draft:
        np.savez_compressed(draft, names=np.array(names, dtype=str), **counts)
    return True


def read_per_image(path: str | Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names and counts as :func:`write_per_image` took them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return arrays.pop('names').tolist(), arrays
    except FileNotFoundError:
        raise FileNotFoundError(f'{path}: no such file; runs before it was introduced lack it: test the checkpoint '
                                'again with tools/test.py') from None
    except (KeyError, OSError, ValueError, EOFError) as error:
        raise ValueError(f'{path}: not a file of counts per image ({error})') from error
