"""Where saved predictions go wrong: IoU by the distance to class boundaries and by the size of objects."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from egmim_mm.evaluation.confusion import segmentation_scores
from egmim_mm.evaluation.strata import confusion_by_distance, iou_counts_by_size
from egmim_mm.records import whole_file
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table
from egmim_mm.registry import DATASETS
from egmim_mm.storage.mask_values import read_mask

from .commands import DISTANCES, SIZES


def report_errors(cfg: Config, predictions: Mapping[str, str], out_dir: str | Path,
                  distances: Sequence[float] = DISTANCES,
                  sizes: Sequence[float] = SIZES) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Write ``errors.json`` and ``errors.png`` for the test data of a config.

    Args:
        cfg: Segmentation config; its test data must have masks. If it names a full reference, distances are those to
            the boundaries in it.
        predictions: Name -> folder of class maps, as ``tools/test.py --out`` writes them.
        out_dir: Folder of the files.
        distances, sizes: Lower ends of the bins; see :mod:`~egmim_mm.evaluation.strata`.

    Returns:
        Name -> ``distance`` and ``size`` -> one row for each bin: ``from`` and ``to`` (px; None: no end), ``mIoU`` and
        ``IoU`` (class -> per cent, NaN if undefined), and ``pixels`` or ``objects``, how many there are.

    Raises:
        ValueError: A prediction is missing, has another size than its mask or holds no class; bins that do not begin
            with 0 and ascend.
    """
    for name, edges in (('distances', distances), ('sizes', sizes)):
        if not edges or edges[0] != 0 or any(low >= high for low, high in zip(edges, edges[1:])):
            raise ValueError(f'{name} are {list(edges)}: give the lower ends of the bins, from 0 on and ascending')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
    classes = dataset.metainfo['classes']
    errors = {name: _rows(*_count(dataset, folder, distances, sizes), classes, distances, sizes)
             for name, folder in predictions.items()}
    out_dir = Path(out_dir)
    write_json(out_dir / 'errors.json', dict(models=errors, predictions=dict(predictions), config=cfg.filename,
                                             tiles=len(dataset), versions=package_versions(), git=git_state()))
    plot_errors(errors, out_dir / 'errors.png')
    return errors


def _count(dataset: Any, folder: str, distances: Sequence[float],
           sizes: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Sums of :func:`confusion_by_distance` and :func:`iou_counts_by_size` over the data set."""
    number = len(dataset.metainfo['classes'])
    confusions = np.zeros((len(distances), number, number), dtype=np.int64)
    counts = np.zeros((3, len(sizes), number), dtype=np.int64)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        target, full = (read_mask(path, info['mask_table']) if path else None
                        for path in (info['seg_map_path'], info.get('full_seg_map_path')))
        prediction = _read_prediction(Path(folder, f'{info["tile_name"]}.png'), target.shape, number)
        confusions += confusion_by_distance(prediction, target, number, distances, full)
        counts += iou_counts_by_size(prediction, target, number, sizes)
    return confusions, counts


def _read_prediction(path: Path, shape: tuple[int, int], number: int) -> np.ndarray:
    """(H, W) uint8 class ids."""
    if not path.is_file():
        raise ValueError(f'{path}: no such prediction; write them with tools/test.py CONFIG CHECKPOINT --out DIR')
    with Image.open(path) as image:
        prediction = np.asarray(image)
    if prediction.shape != shape or prediction.max() >= number:
        raise ValueError(f'{path}: a map of {shape[0]} x {shape[1]} px (height x width) with the classes 0 to '
                         f'{number - 1} is expected; its shape is {prediction.shape}, its maximum {prediction.max()}')
    return prediction


def _rows(confusions: np.ndarray, counts: np.ndarray, classes: Sequence[str], distances: Sequence[float],
          sizes: Sequence[float]) -> dict[str, list[dict[str, Any]]]:
    """Counts as rows of numbers, one for each bin."""
    near = []
    for low, high, confusion in zip(distances, (*distances[1:], None), confusions):
        scores = segmentation_scores(confusion, classes)
        near.append({'from': low, 'to': high, 'mIoU': scores['mIoU'],
                     'IoU': {name: scores[f'IoU/{name}'] for name in classes}, 'pixels': int(confusion.sum())})
    large = []
    for low, high, (hit, union, objects) in zip(sizes, (*sizes[1:], None), counts.transpose(1, 0, 2)):
        shares = 100 * hit / np.where(union, union, np.nan)
        mean = float(np.nanmean(shares)) if union.any() else float('nan')
        large.append({'from': low, 'to': high, 'mIoU': mean, 'IoU': dict(zip(classes, shares.tolist())),
                      'objects': dict(zip(classes, objects.tolist()))})
    return dict(distance=near, size=large)


def bin_name(row: Mapping[str, Any]) -> str:
    """'4 to 8' or, of the last bin, '32 and more'; px."""
    return f'{row["from"]:g} and more' if row['to'] is None else f'{row["from"]:g} to {row["to"]:g}'


def print_errors(errors: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> None:
    """Two tables: mIoU of each model in each bin."""
    first = next(iter(errors.values()))
    for kind, title in (('distance', 'distance to a class boundary, px'), ('size', 'object size, px')):
        cells = [(bin_name(row), *(f'{rows[kind][index]["mIoU"]:.2f}' for rows in errors.values()))
                 for index, row in enumerate(first[kind])]
        print_table((title, ), tuple(errors), cells, title=f'mIoU % by {kind}', style='plain')


def plot_errors(errors: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], path: Path) -> None:
    """mIoU over the bins, a line for each model; distance on the left, size on the right."""
    figure = Figure((11, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    titles = dict(distance='distance to the nearest class boundary (px)', size='size of the object (px)')
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), titles):
        for name, rows in errors.items():
            axes.plot([bin_name(row) for row in rows[kind]], [row['mIoU'] for row in rows[kind]], 'o-', label=name)
        axes.set(xlabel=titles[kind], ylabel='mIoU (%)')
        axes.tick_params('x', rotation=20)
        axes.grid(alpha=0.3)
    axes.legend()
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=120)
