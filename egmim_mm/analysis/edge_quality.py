"""How well a patch's mean edge strength tells that the patch holds a class boundary."""
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import track
from rich.table import Table
from sklearn.metrics import roc_auc_score

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.datasets.plain_tiles import LabelledImages
from egmim_mm.edges import OPERATORS, edge_prior, operator_options
from egmim_mm.evaluation.boundary import class_boundaries
from egmim_mm.pictures.sheets import contact_sheet, edge_to_rgb
from egmim_mm.records import write_whole
from egmim_mm.records.provenance import device_description, git_state, package_versions, write_json
from egmim_mm.records.tables import make_table, table_console, table_text

IGNORE = 255
PATCHES = (8, 16, 32)
SHEET_ROWS, SHEET_SIZE = 6, 256  # pictures and their side in px
AUC = dict[str, dict[str, dict[int, float]]]  # operator -> 'pooled' or 'within' -> patch side -> area under the curve


def parse_operator(text: str) -> dict:
    """``'canny:sigma=1,low=0.2'`` -> ``dict(operator='canny', floor=0.0, sigma=1.0, low=0.2, ...)``, all options.

    Raises:
        ValueError: Unknown operator or option, or a value that is no number or out of range.
    """
    operator, _, rest = text.partition(':')
    options = dict(floor=0.0)
    for item in filter(None, rest.split(',')):
        name, _, value = item.partition('=')
        try:
            options[name] = float(value)
        except ValueError:
            raise ValueError(f'{text}: write options as OPERATOR:NAME=NUMBER,NAME=NUMBER') from None
    floor = options.pop('floor')
    if not 0 <= floor < np.inf:
        raise ValueError(f'{text}: floor = {floor} must be a number, 0 or more')
    return dict(operator=operator, floor=floor, **operator_options(operator, **options))


def to_batch(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) uint8, BGR when C = 3 -> (1, C, H, W) uint8, RGB."""
    return torch.from_numpy(np.ascontiguousarray(swap_rgb_bgr(image).transpose(2, 0, 1)))[None]


def patches(values: np.ndarray, size: int) -> np.ndarray:
    """(H, W) -> (N, size^2): the whole patches from the top left, row by row; a rest at the border is left out."""
    rows, columns = values.shape[0] // size, values.shape[1] // size
    cut = values[:rows * size, :columns * size].reshape(rows, size, columns, size)
    return cut.transpose(0, 2, 1, 3).reshape(-1, size * size)


def patch_boundaries(label: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which patches hold two or more classes.

    Args:
        label: (H, W) class ids, 255 = ignored.
        size: Side of the patches in px.

    Returns:
        Two (N,) bool arrays, in the order of :func:`patches`: holds a boundary; counts. A patch with an ignored
        pixel does not count: another class may lie there.
    """
    cells = patches(label, size)
    return cells.min(1) != cells.max(1), (cells != IGNORE).all(1)


def boundary_auc(images: Iterable[tuple[np.ndarray, np.ndarray]], operators: Mapping[str, Mapping],
                 sizes: Sequence[int] = PATCHES,
                 device: str | torch.device = 'cpu') -> tuple[AUC, dict[int, dict[str, int]]]:
    """Area under the ROC curve of "mean edge strength of a patch -> it holds a class boundary".

    The prior is that of an image as it is given. ``pooled`` compares patches of all images with each other, as the
    edge weight of the loss does; ``within`` is the mean over the images of each one's own AUC, which no
    normalisation changes: a mask is chosen by rank within an image. Images with patches of one kind do not count.

    Args:
        images: Yields (image (H, W, C) uint8, BGR when C = 3, label (H, W)).
        operators: Name -> arguments of :func:`egmim_mm.edges.edge_prior`.
        sizes: Sides of the patches in px.
        device: Where the priors are computed.

    Returns:
        Name -> ``pooled`` and ``within`` -> patch side -> AUC in [0, 1]; patch side -> numbers of patches: ``all``,
        ``boundary``.

    Raises:
        ValueError: No patch, or every patch, of some size holds a boundary.
    """
    truth = {size: [] for size in sizes}
    scores = {name: {size: [] for size in sizes} for name in operators}
    for image, label in images:
        batch = to_batch(image).to(device)
        flags = {size: patch_boundaries(np.asarray(label), size) for size in sizes}
        for size, (boundary, counted) in flags.items():
            truth[size].append(boundary[counted])
        for name, options in operators.items():
            edge = edge_prior(batch, **options)[0, 0].cpu().numpy()
            for size in sizes:
                scores[name][size].append(patches(edge, size).mean(1)[flags[size][1]])
    pooled = {size: np.concatenate(parts) if parts else np.zeros(0, bool) for size, parts in truth.items()}
    numbers = {size: dict(all=len(values), boundary=int(values.sum())) for size, values in pooled.items()}
    for size, patch_counts in numbers.items():
        if not 0 < patch_counts['boundary'] < patch_counts['all']:
            raise ValueError(f'{patch_counts["boundary"]} of {patch_counts["all"]} labelled patches of {size} px hold '
                             'a class boundary: both kinds are needed')
    return {name: dict(pooled={size: float(roc_auc_score(pooled[size], np.concatenate(parts[size]))) for size in sizes},
                       within={size: mean_auc(truth[size], parts[size]) for size in sizes})
            for name, parts in scores.items()}, numbers


def mean_auc(truth: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> float:
    """Mean of the images' AUC; NaN if each has patches of one kind only."""
    own = [roc_auc_score(holds, score) for holds, score in zip(truth, scores) if 0 < holds.sum() < len(holds)]
    return float(np.mean(own)) if own else float('nan')


def cut(image: np.ndarray, label: np.ndarray, crop: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Whole windows of ``crop`` px side by side from the top left; None: the image as one."""
    if crop is None:
        yield image, label
        return
    for y in range(0, label.shape[0] - crop + 1, crop):
        for x in range(0, label.shape[1] - crop + 1, crop):
            yield image[y:y + crop, x:x + crop], label[y:y + crop, x:x + crop]


def sheet_row(image: np.ndarray, label: np.ndarray, operators: Mapping[str, Mapping]) -> list[np.ndarray]:
    """Centre of an image at native scale: image, each prior, class boundaries."""
    top, left = (max(0, (side - SHEET_SIZE) // 2) for side in label.shape)
    window = np.s_[top:top + SHEET_SIZE, left:left + SHEET_SIZE]
    batch = to_batch(image)
    edges = [edge_prior(batch, **options)[0, 0].numpy()[window] for options in operators.values()]
    return [batch[0].float().mean(0).numpy()[window] / 255 if len(batch[0]) != 3 else swap_rgb_bgr(image[window]),
            *map(edge_to_rgb, edges), class_boundaries(np.asarray(label))[window]]


def auc_table(auc: AUC) -> Table:
    """One row for each operator, one column for each kind and patch side; it prints as Markdown."""
    columns = [(kind, size) for kind, values in next(iter(auc.values())).items() for size in values]
    cells = [(name, *(f'{values[kind][size]:.3f}' for kind, size in columns)) for name, values in auc.items()]
    return make_table(('operator', ), [f'{kind} {size} px' for kind, size in columns], cells, style='markdown',
                      no_wrap=True)


def compare_operators(cfg: Config, names: Sequence[str] = OPERATORS, sizes: Sequence[int] = PATCHES,
                      out_dir: str = 'work_dirs/edges', crop: int | None = None, device: str | None = None) -> AUC:
    """Measure operators on the training and test tiles of a config; write ``edges.json``, ``.md`` and ``.png``.

    Args:
        cfg: Segmentation config; only its data sets are used.
        names: Operators, as :func:`parse_operator` takes them.
        sizes: Sides of the patches in px.
        out_dir: Folder of the three files.
        crop: Side in px of the windows in which the prior is normalised, as in training; None: whole images.
        device: Default: a GPU if there is one.

    Returns:
        As :func:`boundary_auc`.

    Raises:
        ValueError: Unknown operator or option, patches of 1 px, a crop smaller than the patches, a config
            of pretraining, or as :func:`boundary_auc`.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    operators = {name: parse_operator(name) for name in names}
    if min(sizes) < 2:
        raise ValueError(f'patches of {min(sizes)} px cannot hold a class boundary: give 2 or more')
    if crop is not None and crop < max(sizes):
        raise ValueError(f'a crop of {crop} px is smaller than the patches of {max(sizes)} px')
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if 'test_dataloader' not in cfg:
        raise ValueError(f'{cfg.filename} has no test_dataloader: give a segmentation config')
    sets = [LabelledImages(loader.dataset) for loader in (cfg.train_dataloader, cfg.test_dataloader)]
    total = sum(map(len, sets))
    shown, rows = set(np.linspace(0, total - 1, SHEET_ROWS).astype(int).tolist()), []

    def images() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, (image, label) in enumerate(track(chain(*sets), 'Images', total, transient=True)):
            if number in shown:
                rows.append(sheet_row(image, label, operators))
            yield from cut(image, label, crop)

    auc, numbers = boundary_auc(images(), operators, sizes, device)
    out = Path(out_dir)
    write_json(out / 'edges.json', dict(
        auc=auc, operators=operators, patches=numbers, images=total, crop=crop, config=cfg.filename,
        device=device_description(device), versions=package_versions(), git=git_state()))
    write_whole(out / 'edges.md', table_text(auc_table(auc), 160) + '\n')
    contact_sheet(rows, ['image', *operators, 'class boundaries'], out / 'edges.png')
    return auc


def print_auc(auc: AUC) -> None:
    """Print the table."""
    table_console().print(auc_table(auc))
