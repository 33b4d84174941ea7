"""Write synthetic scenes to disk in the folder layout of mmsegmentation."""
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from rich.progress import track

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.processes import end_silently_when_stopped, starting_workers
from egmim_mm.records import write_whole

from .classes import CLASSES, PALETTE
from .scene import MIN_SIZE, make_scene

MANIFEST = 'dataset.json'
# Part of the manifest: raise it when scenes change, so that old and new tiles never mix.
VERSION = 1
_SPLITS = ('train', 'val', 'unlabeled')  # the position is part of a scene's seed


def scene_seed(seed: int, split: str, index: int) -> tuple[int, int, int]:
    """Seed of scene `index` of a split; does not depend on how many scenes there are."""
    return (seed, _SPLITS.index(split), index)


def write_dataset(root: str | Path, num_train: int = 200, num_val: int = 40, num_unlabeled: int = 600, size: int = 256,
                  seed: int = 0, workers: int = 1, overwrite: bool = False) -> int:
    """Write root/img_dir/{train,val,unlabeled} and root/ann_dir/{train,val}, PNG.

    Every file appears whole or not at all, and a second call with the same parameters only makes
    what is missing.

    Args:
        root: Folder of the data set, made when missing.
        num_train, num_val, num_unlabeled: Scenes per split.
        size: Side of a tile, px.
        seed: Scene i of a split depends only on (seed, split, i, size).
        workers: processes.
        overwrite: Replace a data set that was made with other parameters.

    Returns:
        Number of scenes written by this call.

    Raises:
        ValueError: if a count is negative, `workers` is below 1 or `size` too small.
        FileExistsError: if `root` holds other files, or scenes made with other parameters.
    """
    root, counts = Path(root), dict(train=num_train, val=num_val, unlabeled=num_unlabeled)
    if min(counts.values()) < 0 or workers < 1 or seed < 0:
        raise ValueError(f'counts and seed must not be negative and workers at least 1, got '
                         f'{counts}, seed={seed}, workers={workers}')
    if size < MIN_SIZE:
        raise ValueError(f'size must be at least {MIN_SIZE} px, got {size}')
    manifest = dict(generator='egmim_mm synthetic scenes', version=VERSION, size=size, seed=seed,
                    counts=counts, classes=list(CLASSES), palette=PALETTE)
    _claim(root, manifest, overwrite)
    jobs = [(split, index) for split, count in counts.items() for index in range(count)
            if not all(path.exists() for path in _paths(root, split, index))]
    write = partial(_write_scene, root, size, seed)
    if workers == 1 or len(jobs) < 2:
        done = map(write, jobs)
        for _ in track(done, 'scenes', total=len(jobs)):
            continue
    else:
        # spawn: OpenCV's threads do not survive a fork; one thread each, the processes share cores
        with ProcessPoolExecutor(workers, get_context('spawn'), _begin_worker) as pool:
            with starting_workers():
                done = pool.map(write, jobs, chunksize=4)
            for _ in track(done, 'scenes', total=len(jobs)):
                continue
    return len(jobs)


def _begin_worker() -> None:
    end_silently_when_stopped()
    cv2.setNumThreads(1)


def _claim(root: Path, manifest: dict[str, Any], overwrite: bool) -> None:
    """Check that `root` is ours to write to, then put the manifest there."""
    path = root / MANIFEST
    if path.exists():
        before = json.loads(path.read_text())
        differing = [key for key in manifest if before.get(key) != manifest[key]]
        if not differing:
            return
        if not overwrite:
            told = ', '.join(f'{k}: {before.get(k)} there, {manifest[k]} asked' for k in differing)
            raise FileExistsError(f'{path} describes another data set ({told}); choose another '
                                  f'folder or overwrite it (--overwrite)')
    elif any(root.glob('*_dir')) and not overwrite:
        raise FileExistsError(f'{root} has image folders but no {MANIFEST}; choose another folder '
                              f'or overwrite it (--overwrite)')
    for split in _SPLITS:
        for folder in (root / 'img_dir' / split, root / 'ann_dir' / split):
            for scene in folder.glob('scene_*.png'):
                scene.unlink()
    root.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(manifest, indent=2).encode() + b'\n')


def _paths(root: Path, split: str, index: int) -> list[Path]:
    name = f'scene_{index:05d}.png'
    image = root / 'img_dir' / split / name
    return [image] if split == 'unlabeled' else [root / 'ann_dir' / split / name, image]


def _write_scene(root: Path, size: int, seed: int, job: tuple[str, int]) -> None:
    split, index = job
    image, mask = make_scene(scene_seed(seed, split, index), size)
    for path in _paths(root, split, index):
        array = mask if path.parent.parent.name == 'ann_dir' else swap_rgb_bgr(image)
        write_whole(path, cv2.imencode('.png', array)[1].tobytes())
