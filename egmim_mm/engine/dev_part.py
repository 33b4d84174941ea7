"""``--dev``: train without some tiles of the training part and evaluate on them: nothing is chosen on the test."""
from pathlib import PurePosixPath
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from egmim_mm.checks import LaunchError
from egmim_mm.datasets.segmentation import SegmentationTiles
from egmim_mm.registry import DATASETS

__all__ = ['use_dev_part']


def use_dev_part(cfg: Config) -> None:
    """Let the training read the training part without its ``dev_tiles``, and validation and test read these.

    Args:
        cfg: Segmentation config with ``dev_tiles``, shell patterns on names of training tiles; changed in place.

    Raises:
        LaunchError: No ``dev_tiles``, patterns that are no text, or training data that have no names to match.
    """
    patterns = cfg.get('dev_tiles')
    if not patterns:
        raise LaunchError(f'--dev: {cfg.filename} does not say which training tiles are its dev part: set dev_tiles, '
                          "shell patterns on their names that take whole places, such as dev_tiles=['area_7_*']")
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise LaunchError(f"dev_tiles={patterns!r}: give shell patterns as text, such as ['7*']")
    train = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if not _has_names(cfg, train):
        raise LaunchError(f'--dev takes tiles out of train_dataloader.dataset by their names, and {train.get("type")} '
                          'has none: use egmim_mm.SegmentationTiles, or give val_dataloader images of its own')
    for name in ('val_dataloader', 'test_dataloader'):
        if cfg.get(name):
            cfg[name].dataset = _evaluated(train, cfg[name].dataset, patterns)
    train.update(dev_tiles=patterns, part='train')


def _has_names(cfg: Config, dataset: dict[str, Any]) -> bool:
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
            kind = DATASETS.get(kind)
    return isinstance(kind, type) and issubclass(kind, SegmentationTiles)


def _evaluated(train: dict[str, Any], before: dict[str, Any], patterns: list[str]) -> ConfigDict:
    """The training data's own ``dev`` part, loaded as the set that was evaluated before."""
    own = {key: value for key, value in train.items() if key not in ('pipeline', 'test_mode')}
    prefix, other = dict(train.get('data_prefix') or {}), before.get('data_prefix') or {}
    masks, full = (PurePosixPath(other.get(key) or '') for key in ('seg_map_path', 'full_seg_map_path'))
    # converters write ann_dir/X and ann_dir_full/X
    if full.name and full.name == masks.name and 'full_seg_map_path' not in prefix and prefix.get('seg_map_path'):
        prefix['full_seg_map_path'] = str(full.parent / PurePosixPath(prefix['seg_map_path']).name)
    options = dict(data_prefix=prefix) if prefix else {}
    kept = {key: before[key] for key in ('pipeline', 'test_mode') if key in before}
    return ConfigDict({**own, **options, **kept, 'dev_tiles': patterns, 'part': 'dev'})
