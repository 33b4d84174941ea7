"""What a run was trained and judged on, as plain values for ``results.json``. Pure functions."""
from typing import Any

from mmengine.dist import get_world_size
from mmengine.runner import Runner

DATASET_KEYS = ('data_root', 'data_prefix', 'include', 'ann_file', 'list_file', 'img_suffix',
                'seg_map_suffix', 'part', 'dev_tiles')
DEV = 'dev'
SAMPLER_KEYS = ('budget', 'seed', 'strategy', 'unit', 'labelled_share', 'unlabelled')


def class_names(dataset: Any) -> list[str] | None:
    """Classes of a data set in order; None for unlabelled images."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    return list(classes) if classes else None


def describe_split(dataset_cfg: dict | None, dataset: Any = None) -> dict[str, Any]:
    """Which files a data set is made of.

    Args:
        dataset_cfg: The data set's config; only the keys that select files are kept.
        dataset: The built data set, if there is one; adds the number of tiles.

    Returns:
        ``type``, the keys of ``DATASET_KEYS`` that are set, ``sparse_labels`` (settings of ``SparseLabels``, if the
        pipeline has it), ``num_tiles``.
    """
    cfg = dict(dataset_cfg or {})
    split = {'type': cfg.get('type', type(dataset).__name__)}
    split.update({key: cfg[key] for key in DATASET_KEYS if cfg.get(key)})
    for step in cfg.get('pipeline') or ():
        if isinstance(step, dict) and str(step.get('type')).endswith('SparseLabels'):
            split['sparse_labels'] = {key: value for key, value in step.items() if key != 'type'}
    if dataset is not None:
        split['num_tiles'] = len(dataset)
    return split


def evaluated_part(cfg: dict, phase: str) -> str | None:
    """What an evaluation is made on.

    Args:
        cfg: The resolved config.
        phase: ``'val'`` or ``'test'``.

    Returns:
        ``'dev'``: tiles taken out of the training part; ``'test'``; ``'val'``: a set of its own, apart from both; None:
        the config has no such set.
    """
    here, test = ((cfg.get(f'{name}_dataloader') or {}).get('dataset') for name in (phase, 'test'))
    if here is None:
        return None
    if here.get('part') == DEV:
        return DEV
    return 'test' if phase == 'test' or test is not None and _images(here) == _images(test) else 'val'


def _images(dataset_cfg: dict) -> dict[str, Any]:
    """What decides which images a data set reads, or may."""
    own = {key: value for key, value in dataset_cfg.items() if key not in ('pipeline', 'test_mode')}
    prefix = own.pop('data_prefix', None) or {}
    return dict(own, img_path=prefix.get('img_path'))


def selecting_hook(cfg: dict) -> str | None:
    """Name and setting of the hook that chooses weights by the validation: the best checkpoint, or when to stop."""
    hooks = [(f'default_hooks.{name}', hook) for name, hook in (cfg.get('default_hooks') or {}).items()]
    hooks += [(f'custom_hooks.{number}', hook) for number, hook in enumerate(cfg.get('custom_hooks') or [])]
    for name, hook in hooks:
        if isinstance(hook, dict) and hook.get('save_best'):
            return f'{name}.save_best={hook["save_best"]!r}'
        if isinstance(hook, dict) and str(hook.get('type')).endswith('EarlyStoppingHook'):
            return f'{name} (EarlyStoppingHook)'
    return None


def describe_labels(sampler_cfg: dict | None, sampler: Any = None) -> dict[str, Any]:
    """Which tiles' labels a run may use.

    Args:
        sampler_cfg: The training sampler's config.
        sampler: The built sampler; one that has ``tile_names`` says which tiles it draws from.

    Returns:
        ``sampler``, the keys of ``SAMPLER_KEYS`` it has, and ``tiles``: the names, or None if the
        sampler draws from all tiles of the split.
    """
    cfg = dict(sampler_cfg or {})
    labels = {'sampler': cfg.get('type', type(sampler).__name__)}
    for key in SAMPLER_KEYS:
        value = getattr(sampler, key, cfg.get(key))
        if value is not None:
            labels[key] = value
    names: list[str] | None = getattr(sampler, 'tile_names', None)
    labels['tiles'] = None if names is None else list(names)
    return labels


def describe_batch(runner: Runner) -> dict[str, Any]:
    """How the images of a step of the optimizer are shared out, by a Runner that is set up to train.

    Returns:
        ``global_batch`` (None if the loader does not say), ``processes``, ``accumulation``, and ``lr``: that of the
        config, scaled to the batch, before the multipliers of layers and the schedule (None if there is no config, or
        nothing is optimised).
    """
    processes, shares = get_world_size(), getattr(runner.train_loop, 'shares', None)
    if getattr(runner.train_loop, 'fits_at_once', False):
        return dict(global_batch=None, processes=processes, accumulation=1, lr=None)
    wrapper = runner.cfg.get('optim_wrapper') or {}
    if shares:
        batch, accumulation = shares.global_batch, shares.accumulation
    else:
        images, accumulation = runner.train_dataloader.batch_size, wrapper.get('accumulative_counts', 1)
        batch = images and images * processes * accumulation
    lr = (wrapper.get('optimizer') or {}).get('lr')
    return dict(global_batch=batch, processes=processes, accumulation=accumulation,
                lr=lr and lr * lr_scale(runner.cfg.get('auto_scale_lr'), batch))


def lr_scale(auto_scale_lr: dict | None, global_batch: int | None) -> float:
    """Factor of the learning rate by MMEngine's setting: images of a step over those that the rate stands for."""
    if not auto_scale_lr or not auto_scale_lr.get('enable') or not global_batch:
        return 1.0
    return global_batch / auto_scale_lr['base_batch_size']


def describe_progress(runner: Runner, iteration: int) -> dict[str, Any]:
    """How far a Runner's training is after so many iterations.

    Returns:
        ``optimizer_steps`` and ``images_seen``, and what hooks have settled: ``edge_floor`` of EdgeFloorHook,
        ``predictor`` of MeanTeacherHook.
    """
    if getattr(runner.train_loop, 'fits_at_once', False):
        return dict(optimizer_steps=0, images_seen=iteration * len(runner.train_dataloader.sampler))
    batch = describe_batch(runner)
    # an iteration of MMEngine's loop is one part of a step
    parts = 1 if hasattr(runner.train_loop, 'shares') else batch['accumulation']
    seen = batch['global_batch'] and batch['global_batch'] * iteration // parts
    hub = getattr(runner, 'message_hub', None)
    settled = {name: hub.runtime_info[name] for name in ('edge_floor', 'predictor') if hub and name in hub.runtime_info}
    return dict(optimizer_steps=-(-iteration // parts), images_seen=seen, **settled)


def describe_training(cfg: dict, dataloader: Any, seed: int | None, batch: dict[str, Any]) -> dict[str, Any]:
    """The training half of the protocol.

    Args:
        cfg: The resolved config of the run.
        dataloader: The built training loader.
        seed: Seed of the run.
        batch: Of :func:`describe_batch`.

    Returns:
        ``classes`` (None without labels), ``split``, ``labels``, ``preset`` (of ``--budget``; None without),
        ``selected_on`` (the part on which the best checkpoint or the end is chosen; None: nothing is), what is in
        ``batch``, ``max_iters``, ``seed``.
    """
    loader_cfg = cfg.get('train_dataloader') or {}
    return dict(
        classes=class_names(dataloader.dataset),
        split=describe_split(loader_cfg.get('dataset'), dataloader.dataset),
        labels=describe_labels(loader_cfg.get('sampler'), dataloader.sampler),
        preset=cfg.get('label_preset'),
        selected_on=evaluated_part(cfg, 'val') if selecting_hook(cfg) else None,
        **batch,
        max_iters=(cfg.get('train_cfg') or {}).get('max_iters'),
        seed=seed)


def check_same_data(before: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Compare the training data of a resumed run with those it began with.

    Args:
        before: Of :func:`describe_training`, from its checkpoint; None = not known.
        now: The same, of the data that are there now.

    Raises:
        ValueError: Another number of tiles or unlabelled images, or other labelled tiles.
    """
    if not before:
        return
    numbers = [one['split'].get('num_tiles') for one in (before, now)]
    if None not in numbers and numbers[0] != numbers[1]:
        raise ValueError(f'the run began with {numbers[0]} training tiles, and there are {numbers[1]} now: a resumed '
                         'run needs the same data. Restore them, or start a new run in another --work-dir')
    unlabelled = [one['labels'].get('unlabelled') for one in (before, now)]
    if None not in unlabelled and unlabelled[0] != unlabelled[1]:
        raise ValueError(f'the run began with {unlabelled[0]} unlabelled images, and there are {unlabelled[1]} now: a '
                         'resumed run needs the same data. Restore them, or start a new run in another --work-dir')
    tiles = [one['labels'].get('tiles') for one in (before, now)]
    if None not in tiles and sorted(tiles[0]) != sorted(tiles[1]):
        other = min(set(tiles[0]) ^ set(tiles[1]))
        raise ValueError(f'the labelled tiles are not those the run began with ({other} for one): a resumed run needs '
                         'the same budget and data. Restore them, or start a new run in another --work-dir')
