"""Contradictions inside a config, found before anything is built."""
import logging
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.logging import print_log

from egmim_mm.datasets.public import declared_metainfo
from egmim_mm.evaluation.protocol import evaluated_part, selecting_hook

from .head_checks import check_heads, heads_of
from .launch_error import LaunchError
from .readout_checks import check_readout

__all__ = ['check_classes', 'check_testing', 'check_training']

# What writes the curves elsewhere, and the packages it imports when it is built
_BACKEND_PACKAGES = dict(
    TensorboardVisBackend='tensorboard', WandbVisBackend='wandb', MLflowVisBackend='mlflow',
    ClearMLVisBackend='clearml', NeptuneVisBackend='neptune', DVCLiveVisBackend='dvclive', AimVisBackend='aim')
_PARTS = dict(train=('train_dataloader', 'train_cfg', 'optim_wrapper'),
              val=('val_dataloader', 'val_cfg', 'val_evaluator'),
              test=('test_dataloader', 'test_cfg', 'test_evaluator'))


def check_training(cfg: Config) -> None:
    """Everything about a config that would stop or spoil a training and can be seen in it.

    Raises:
        LaunchError: The first contradiction; its message says what to set.
    """
    _check_parts(cfg, 'train')
    _check_iterations(cfg)
    _check_validation(cfg)
    _check_visualizer(cfg)
    _check_packing(cfg)
    check_classes(cfg)
    check_heads(cfg)
    check_readout(cfg)


def check_testing(cfg: Config) -> None:
    """As :func:`check_training`, for a test.

    Raises:
        LaunchError: See :func:`check_training`.
    """
    _check_parts(cfg, 'test')
    _check_visualizer(cfg)
    check_classes(cfg)
    check_heads(cfg, losses=False)


def check_classes(cfg: Config) -> None:
    """Compare the number of classes of the heads with that of the data.

    Raises:
        LaunchError: They differ, or there is only one class.
    """
    for loader in ('train_dataloader', 'test_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        classes = declared_metainfo(dataset).get('classes')
        for name, head in heads_of(cfg.get('model') or {}):
            number = head.get('num_classes')
            if not classes or not number:
                continue
            if len(classes) == 1:
                raise LaunchError(f'the data has one class ({classes[0]}), and one cannot be told from nothing: name '
                                  f"the background as well, metainfo.classes=('background', '{classes[0]}'), and set "
                                  f'{name}.num_classes=2 (with one output: out_channels=1)')
            if number != len(classes):
                one_output = '; one output for both is out_channels=1' if number == 1 and len(classes) == 2 else ''
                raise LaunchError(f'{name}.num_classes is {number}, but the data has {len(classes)} classes '
                                  f'({", ".join(classes)}): set num_classes to {len(classes)}{one_output}')


def _check_parts(cfg: Config, needed: str) -> None:
    """The Runner takes the three settings of a phase together or not at all."""
    for phase, names in _PARTS.items():
        absent = [name for name in names if cfg.get(name) is None]
        if absent and phase == needed:
            raise LaunchError(f'{", ".join(absent)}: not set, and a config that is to '
                              f'{"be trained" if needed == "train" else "be tested"} needs {", ".join(names)}')
        if absent and len(absent) < len(names):
            given = [name for name in names if name not in absent]
            raise LaunchError(f'{", ".join(absent)}: None, but {", ".join(given)} is given: set all three, or all to '
                              'None to go without')


def _check_iterations(cfg: Config) -> None:
    """Training counts iterations: the samplers are endless, so that an epoch would never end."""
    loop = cfg.train_cfg
    kind = loop.get('type', '')
    if 'max_epochs' in loop or loop.get('by_epoch') or str(kind).endswith('EpochBasedTrainLoop'):
        raise LaunchError('train_cfg counts epochs, but training here counts iterations, because the tiles are an '
                          "endless stream: set train_cfg=dict(_delete_=True, type='egmim_mm.GlobalBatchLoop', "
                          'global_batch=B, max_iters=N), where an epoch is the number of labelled tiles / B iterations')
    max_iters = loop.get('max_iters')
    if not isinstance(max_iters, int) or max_iters < 1:
        raise LaunchError(f'train_cfg.max_iters is {max_iters}: give the number of iterations, 1 or more')
    schedulers = cfg.get('param_scheduler') or []
    for number, scheduler in enumerate(schedulers if isinstance(schedulers, list) else []):
        if scheduler.get('by_epoch', True):
            raise LaunchError(f'param_scheduler.{number} ({scheduler.type}) counts epochs, which is the default, and '
                              'would never step: set by_epoch=False, and begin and end in iterations or in shares of '
                              'the run (0.0 to 1.0)')
    hook = (cfg.get('default_hooks') or {}).get('checkpoint', dict(type='CheckpointHook'))
    if hook and hook.get('by_epoch', str(hook.get('type')).rsplit('.', 1)[-1] == 'CheckpointHook'):
        raise LaunchError('default_hooks.checkpoint counts epochs and would never save: set by_epoch=False and '
                          'interval in iterations')


def _check_packing(cfg: Config) -> None:
    steps = (cfg.train_dataloader.get('dataset') or {}).get('pipeline') or []
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or {}
    if any(step.get('type') == 'egmim_mm.PackTiles' for step in steps if isinstance(step, dict)) and (
            preprocessor.get('type') != 'egmim_mm.TilePreprocessor'):
        raise LaunchError('egmim_mm.PackTiles packs labels as bytes, and losses need whole numbers of 64 bits: set '
                          "model.data_preprocessor.type='egmim_mm.TilePreprocessor', or pack with PackSegInputs")


def _check_validation(cfg: Config) -> None:
    hook = selecting_hook(cfg)
    if hook and cfg.get('val_dataloader') is None:
        raise LaunchError(f'{hook} needs validation, but val_dataloader is None: leave one of them out')
    if hook and evaluated_part(cfg, 'val') == 'test':
        print_log(f'{hook} chooses on the images of test_dataloader, which val_dataloader reads too: the test score '
                  'will be too good, and results.json will say selected_on: test. Choose with --dev on tiles taken out '
                  'of the training part, or give val_dataloader images of its own', logger='current',
                  level=logging.WARNING)


def _check_visualizer(cfg: Config) -> None:
    """MMEngine finds a missing package only when it writes the first curve."""
    backends = (cfg.get('visualizer') or {}).get('vis_backends') or []
    for backend in [backends] if isinstance(backends, dict) else backends:
        kind = str(backend.get('type')).rsplit('.', 1)[-1]
        package = _BACKEND_PACKAGES.get(kind)
        if package and find_spec(package) is None:
            raise LaunchError(f'visualizer.vis_backends has {kind}, and {package} is not installed: pip install '
                              f'{package}, or leave the backend out')
