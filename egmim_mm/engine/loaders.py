"""Loader workers that fit the machine, and memory from which a GPU copies while it computes."""
from mmengine.config import Config
from mmengine.logging import print_log

from egmim_mm.cores import cores_per_process

__all__ = ['fit_loaders']

OUR_DATASETS = 'egmim_mm.'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def fit_loaders(cfg: Config, gpu: bool) -> None:
    """Settle the loaders of this package's data sets: their samples do not depend on the number of workers.

    The number of workers in the config is the most that there will be: more workers than cores only take time from
    each other and from the training. On a GPU batches wait in pinned memory, unless the config says otherwise. Loaders
    of other data sets are left alone.

    Args:
        cfg: Changed in place.
        gpu: Whether it will run on one.
    """
    cores, told = cores_per_process(), []
    for name in LOADERS:
        loader = cfg.get(name)
        if not loader or not str((loader.get('dataset') or {}).get('type')).startswith(OUR_DATASETS):
            continue
        wanted = loader.get('num_workers', 0)
        workers = loader['num_workers'] = min(wanted, cores)
        if gpu:
            loader.setdefault('pin_memory', True)
        if not workers:
            loader['persistent_workers'] = False  # there are none
        if workers < wanted:
            told.append(f'{workers} instead of {wanted} for the {name}')
    if told:
        print_log(f'Loader workers: {", ".join(told)}, as this process has {cores} core{"s" * (cores > 1)}',
                  logger='current')
