"""Which tiles, or windows of them, to label next, by what a trained model makes of them: lists and a contact sheet."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from PIL import Image, ImageDraw
from rich.progress import track

from egmim_mm.checkpoints import read_checkpoint, resolve_source
from egmim_mm.datasets.plain_tiles import build_training_data
from egmim_mm.evaluation.results import META_KEY
from egmim_mm.pictures.sheets import contact_sheet, edge_to_rgb
from egmim_mm.records import write_whole
from egmim_mm.storage.image_files import find_images, matches_any
from egmim_mm.storage.raster_rows import RasterRows

from .model_views import CELL, ModelViews, Place, places_of
from .suggest_tiles import METHODS, choose_tiles
from .suggested_windows import write_boxes

__all__ = ['DEFAULT', 'Suggestion', 'suggest_by_model']

DEFAULT = 'typical_cluster'  # the best of all in rounds of labelling, see docs/results/active_rounds.md
MOST = 64  # windows of an image among which is chosen, the most unsure ones: features of all would fill the memory
SIDE = 256  # px, of a picture on the sheet


class Suggestion(NamedTuple):
    """What to label: name and file of the tile, and the part of it."""

    name: str
    path: str
    place: Place


def suggest_by_model(folder: str, count: int, out_dir: str | Path, config: str, checkpoint: str,
                     labelled: str | None = None, include: Sequence[str] | None = None, method: str = DEFAULT,
                     seed: int = 0, window: int | None = None, device: str | None = None) -> list[Suggestion]:
    """Pick what differs from the labelled tiles by the features of a model, or what it is unsure of, or both.

    Writes ``suggested.csv`` and ``suggested.jpg``, and ``suggested.txt`` of tiles or ``suggested.gpkg`` of windows.

    Args:
        folder: Images, no labels needed.
        count: Tiles or windows to pick.
        out_dir: Folder of the files.
        config: Segmentation config of the checkpoint.
        checkpoint: Checkpoint or work dir.
        labelled: File with the name of a labelled tile on each line, a path below ``folder`` without suffix or a
            training tile of the config; None: those that the checkpoint was trained on.
        include: Shell patterns on the path without suffix.
        method: One of :data:`~.suggest_tiles.MODEL_METHODS`, see :func:`~.suggest_tiles.choose_tiles`. The weights of
            ``uncertainty`` and ``weighted_...`` are the mean entropy of the classes as a share of the largest, of a
            second stage times the share of pixels that teacher and student label differently.
        seed: Of k-means.
        window: Side of windows, px, a multiple of 32; None: tiles are picked.
        device: None: a GPU if there is one.

    Returns:
        In the order of choice.

    Raises:
        FileNotFoundError: No such folder or file, or no images in it.
        CheckpointError: The checkpoint cannot be read or is of another model.
        ValueError: Other classes, nothing left to label, a count that cannot be had, windows that do not fit, or
            labelled tiles that are not known.
    """
    if window is not None and (window < CELL or window % CELL):
        raise ValueError(f'--windows {window}: a multiple of {CELL} px, such as 64')
    files = [file for file in find_images(folder) if matches_any(include, file.rpartition('.')[0])]
    if not files:
        raise FileNotFoundError(f'no images in {folder}' + (f' that match {include}' if include else ''))
    cfg = Config.fromfile(config)
    cfg.setdefault('default_scope', 'mmseg')
    paths = {file.rpartition('.')[0]: str(Path(folder, file)) for file in files}
    held = _labelled_files(cfg, checkpoint, labelled, paths)
    done = {os.path.realpath(path) for path in held}
    names = [name for name, path in paths.items() if os.path.realpath(path) not in done]
    if not names:
        raise ValueError(f'each of the {len(paths)} images in {folder} is labelled: there is none to suggest')
    views = ModelViews(cfg, checkpoint, device)
    _check_classes(checkpoint, views.model.classes, config)
    known = [views.view(path).summary() for path in track(held, 'labelled tiles')]
    found: list[Suggestion] = []
    for name in track(names, 'unlabelled tiles'):
        view = views.view(paths[name])
        if window and min(view.valid.shape) < window:
            height, width = view.valid.shape
            raise ValueError(f'--windows {window}: {paths[name]} has {height} x {width} px (height x width): give '
                             'smaller windows, or leave it out with --include')
        places = sorted(places_of(view, window), key=lambda place: -_weight(place))
        found += [Suggestion(name, paths[name], place) for place in places[:MOST]]
    weights = np.array([_weight(one.place) for one in found])
    if not weights.any():  # teacher and student are the same
        weights = np.array([one.place.uncertainty for one in found])
    features = np.stack([*known, *(one.place.features for one in found)])
    first = len(known)
    chosen = [found[place - first] for place in choose_tiles(
        features, count, method.removeprefix('weighted_'), seed, range(first),
        None if method in METHODS else np.concatenate([np.zeros(first), weights]))]
    _write(chosen, Path(out_dir), window, views)
    return chosen


def _weight(place: Place) -> float:
    return place.uncertainty * (1.0 if place.disagreement is None else place.disagreement)


def _labelled_files(cfg: Config, checkpoint: str, labelled: str | None, paths: Mapping[str, str]) -> list[str]:
    """Images of the labelled tiles."""
    if labelled is None:
        told = _training(checkpoint).get('labels') or {}
        tiles, places = told.get('tiles'), {}
        if not told:
            raise ValueError(f'{checkpoint} does not say which tiles it was trained on: name them with --labelled FILE')
    else:
        tiles, places = Path(labelled).read_text().split('\n'), dict(paths)
        tiles = [line.strip() for line in tiles if line.strip()]
        if not tiles:
            raise ValueError(f'{labelled}: names no tile; give the name of a labelled tile on each line')
    if tiles is None or not set(tiles) <= set(places):
        data = build_training_data(cfg)
        own = {name: data.get_data_info(number)['img_path'] for number, name in enumerate(data.tile_names)}
        places, tiles = own | places, list(own) if tiles is None else tiles
    if unknown := [name for name in tiles if name not in places]:
        raise ValueError(f'{labelled or checkpoint}: the labelled tile {unknown[0]} is neither an image of the folder '
                         f'nor a training tile of {Path(cfg.filename).name}'
                         + ('' if labelled else ': name the labelled ones with --labelled FILE'))
    return [places[name] for name in dict.fromkeys(tiles)]


def _training(checkpoint: str) -> dict[str, Any]:
    meta = read_checkpoint(resolve_source(checkpoint)).get('meta') or {}
    return (meta.get(META_KEY) or {}).get('training') or {}


def _check_classes(checkpoint: str, classes: Sequence[str], config: str) -> None:
    trained = _training(checkpoint).get('classes')
    if trained and list(trained) != list(classes):
        raise ValueError(f'{checkpoint} was trained on the classes {", ".join(trained)}, and {config} has '
                         f'{", ".join(classes)}: give the config of that run')


def _write(chosen: Sequence[Suggestion], out_dir: Path, window: int | None, views: ModelViews) -> None:
    head = 'rank,tile,uncertainty,disagreement' if window is None else 'rank,tile,x,y,side,uncertainty,disagreement'
    lines = []
    for rank, (name, _, place) in enumerate(chosen, 1):
        where = '' if window is None else f'{place.x},{place.y},{window},'
        differs = '' if place.disagreement is None else f'{place.disagreement:.4f}'
        quoted = f'"{name}"' if ',' in name else name
        lines.append(f'{rank},{quoted},{where}{place.uncertainty:.4f},{differs}')
    write_whole(out_dir / 'suggested.csv', '\n'.join([head, *lines]) + '\n')
    if window is None:
        write_whole(out_dir / 'suggested.txt', '\n'.join(one.name for one in chosen) + '\n')
    else:
        write_boxes([(one.path, one.place.x, one.place.y) for one in chosen], window, out_dir / 'suggested.gpkg')
    _sheet(chosen, window, views, out_dir / 'suggested.jpg')


def _sheet(chosen: Sequence[Suggestion], window: int | None, views: ModelViews, path: Path) -> None:
    """Three suggestions in a row, each as the image and as its uncertainty."""
    pictures = []
    for _, file, place in chosen:
        with RasterRows(file, views.model.bands) as rows:
            image = rows(0, rows.height)[0]
        image = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, 2)
        pictures += [_framed(one, place, window) for one in (image, edge_to_rgb(views.view(file).entropy))]
    titles = [text for number in range(min(3, len(chosen))) for text in (
        f'{number + 1}, {number + 4}, ...' if len(chosen) > 3 else str(number + 1), 'uncertainty: bright')]
    contact_sheet([pictures[i:i + 6] for i in range(0, len(pictures), 6)], titles, path,
                  row_titles=[chosen[i].name for i in range(0, len(chosen), 3)])


def _framed(image: np.ndarray, place: Place, window: int | None) -> np.ndarray:
    """Shrunk to :data:`SIDE`, with a frame around the window."""
    picture = Image.fromarray(image)
    scale = min(1.0, SIDE / max(picture.size))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    if window is not None:
        box = [scale * side for side in (place.x, place.y, place.x + window, place.y + window)]
        ImageDraw.Draw(picture).rectangle(box, outline=(255, 0, 0), width=2)
    return np.asarray(picture)
