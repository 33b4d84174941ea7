"""How the images of a training step are shared out to processes, and what cannot be shared out."""
from collections.abc import Mapping
from typing import NamedTuple

from mmengine.config import Config

from egmim_mm.datasets.mixed_batches import share_ratio

from .launch_error import LaunchError

__all__ = ['BatchShares', 'labelled_images', 'share_out', 'shares_of']


class BatchShares(NamedTuple):
    """``global_batch = processes * accumulation * images``."""

    global_batch: int  # images of a step of the optimizer
    processes: int
    accumulation: int  # parts whose gradients a process sums up
    images: int  # of a part: what a process computes at once

    def __str__(self) -> str:
        each = f', {self.images * self.accumulation} for each' if self.processes > 1 else ''
        parts = f', in {self.accumulation} parts of {self.images}' if self.accumulation > 1 else ''
        return f'{self.global_batch} images a step over {_processes(self.processes)}{each}{parts}'


def share_out(global_batch: int, processes: int, max_batch_per_process: int | None = None) -> BatchShares:
    """Divide a batch among processes, and the share of each into as few equal parts as its limit allows.

    Args:
        global_batch: Images of a step of the optimizer, 1 or more.
        processes: Their number.
        max_batch_per_process: Most images that a process computes at once; None = no limit.

    Raises:
        LaunchError: A number that is none, or a batch that the processes cannot share equally.
    """
    for name, number in (('global_batch', global_batch), ('max_batch_per_process', max_batch_per_process)):
        unlimited = name == 'max_batch_per_process' and number is None
        if not unlimited and (not isinstance(number, int) or number < 1):
            raise LaunchError(f'train_cfg.{name} is {number!r}: give a number of images, 1 or more')
    if global_batch % processes:
        fitting = ', '.join(str(number) for number in range(1, processes) if global_batch % number == 0)
        raise LaunchError(f'train_cfg.global_batch is {global_batch} images a step, which {processes} processes cannot '
                          f'share equally: start {" or ".join(fitting.rsplit(", ", 1))} of them, or change the recipe '
                          f'to a multiple of {processes} images (train_cfg.global_batch='
                          f'{max(global_batch // processes, 1) * processes}); the learning rate follows')
    share = global_batch // processes
    most = min(max_batch_per_process or share, share)
    images = next(number for number in range(most, 0, -1) if share % number == 0)
    return BatchShares(global_batch, processes, share // images, images)


def shares_of(cfg: Config, processes: int) -> BatchShares | None:
    """What a config's ``train_cfg.global_batch`` comes to; None where it states none.

    Raises:
        LaunchError: See :func:`share_out`; settings that say something else; or an odd number of unlabelled images in
            each of several parts.
    """
    loop = cfg.get('train_cfg') or {}
    if loop.get('global_batch') is None and not str(loop.get('type')).endswith('GlobalBatchLoop'):
        return None
    if loop.get('type') == 'IterBasedTrainLoop':
        raise LaunchError(f'train_cfg.type is IterBasedTrainLoop, which reads no global_batch ({loop.global_batch}): '
                          "leave the type out, or set train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', "
                          "max_iters=N) and train_dataloader.batch_size for each process")
    shares = share_out(loop.get('global_batch'), processes, loop.get('max_batch_per_process'))
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if counts != 1:
        raise LaunchError(f'optim_wrapper.accumulative_counts is {counts}, but accumulation follows from '
                          f'train_cfg.global_batch={shares.global_batch}: leave it out, and limit what a process '
                          'computes at once with train_cfg.max_batch_per_process')
    check_stated(cfg.get('train_dataloader') or {}, shares)
    unlabelled = shares.images - labelled_images(cfg.get('train_dataloader') or {}, shares.images)
    if unlabelled % 2 and shares.images < shares.global_batch:
        raise LaunchError(f'there are {shares}; of {shares.images} images {unlabelled} would be unlabelled, and these '
                          'are mixed in pairs, which are not divided: make it an even number with '
                          'train_cfg.global_batch, max_batch_per_process or train_dataloader.sampler.labelled_share')
    return shares


def check_stated(dataloader: Mapping, shares: BatchShares) -> None:
    """Compare a loader's own ``batch_size``, if it states one, with that of the shares.

    Raises:
        LaunchError: They differ.
    """
    stated = dataloader.get('batch_size')
    if stated not in (None, shares.images):
        raise LaunchError(f'train_dataloader.batch_size is {stated}, but train_cfg.global_batch={shares.global_batch} '
                          f'makes it {shares.images} with {_processes(shares.processes)}: leave batch_size out. For '
                          'less memory and the same training set train_cfg.max_batch_per_process, for another batch '
                          'train_cfg.global_batch (images over all processes)')


def labelled_images(dataloader: Mapping, images: int) -> int:
    """How many of the images that a process computes at once are labelled.

    Args:
        dataloader: Config of the training's; a sampler with ``labelled_share`` gives unlabelled samples too.
        images: That a process computes at once.

    Raises:
        LaunchError: The share is none, or does not make whole numbers of images.
    """
    share = (dataloader.get('sampler') or {}).get('labelled_share')
    if share is None:
        return images
    try:
        ratio = share_ratio(share)
    except ValueError as error:
        raise LaunchError(str(error)) from None
    if images % ratio.denominator:
        raise LaunchError(f'a process computes {images} images at once, of which {ratio} cannot be labelled '
                          f'(train_dataloader.sampler.labelled_share={share}): make train_cfg.global_batch and '
                          f'max_batch_per_process multiples of {ratio.denominator} images for each process')
    return images * ratio.numerator // ratio.denominator


def _processes(number: int | str) -> str:
    return f'{number} process{"es" * (number not in (1, "1"))}'
