"""Unlabelled images that must not be there."""
from os.path import realpath
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from egmim_mm.registry import DATASETS

from .launch_error import LaunchError

__all__ = ['check_unlabelled']


def check_unlabelled(dataset: Any, numbers: list[int], cfg: Config) -> None:
    """Refuse images of the test or validation among the unlabelled ones: they are recognised by their files.

    Args:
        dataset: With ``unlabelled_files``.
        numbers: Of the unlabelled samples.
        cfg: Of the run.

    Raises:
        LaunchError: Says how many there are, and what to do.
    """
    for name in ('test_dataloader', 'val_dataloader'):
        evaluated = (cfg.get(name) or {}).get('dataset')
        if not evaluated:
            continue
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
            images = DATASETS.build(dict(evaluated, pipeline=[]))
        files = {realpath(images.get_data_info(place)['img_path']) for place in range(len(images))}
        held = [file for file in dataset.unlabelled_files(numbers) if realpath(file) in files]
        if held:
            raise LaunchError(f'{len(held)} of the unlabelled images are those that {name} evaluates, such as '
                              f'{held[0]}: a score on images that a model has trained on is no score of new ones. '
                              'Leave them out (include= of train_dataloader.dataset.unlabeled), or ask for it with '
                              'allow_test_tiles=True of egmim_mm.MeanTeacherHook')
