"""The settings a run was recorded with, against those it is resumed with."""
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from egmim_mm.checkpoints.recorded_config import parse_settings

# what a training reads; other names in a config are parts of these, or say how and where it runs
_READ = ('model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'val_cfg', 'optim_wrapper', 'param_scheduler',
         'auto_scale_lr', 'val_evaluator', 'default_hooks', 'custom_hooks', 'randomness', 'visualizer')
# a resumed run takes its weights from its checkpoint; the batch is compared over all processes
_NOT_COMPARED = re.compile(r'model\.(.*\.)?(init_cfg|pretrained)(\.|$)|train_dataloader\.batch_size$|'
                           r'train_cfg\.global_batch$')
# what the weights, the state of the optimizer or the position in the data mean
_KEPT = re.compile(r'(model|train_dataloader|randomness)\.|train_cfg\.(type|by_epoch)$|'
                   r'optim_wrapper\.(constructor|accumulative_counts|optimizer\.type)$')
# parts of these that are neither: how data are loaded and where they lie, memory, testing
_MAY_CHANGE = re.compile(
    r'train_dataloader\.(num_workers|persistent_workers|pin_memory|prefetch_factor|timeout|dataset\.(.*\.)?data_root)$|'
    r'.*\.(cache_mb|cache_dir|with_cp)$|model\.test_cfg(\.|$)|randomness\.deterministic$')
# constructors that keep the same order of parameters; their groups are compared when the state is loaded
_ALIKE = (None, 'DefaultOptimWrapperConstructor', 'egmim_mm.MergedGroups')
# another name of the same: the device decides on SyncBN; the batch is compared by itself
_SAME = {'SyncBN': 'BN', 'egmim_mm.GlobalBatchLoop': 'IterBasedTrainLoop'}
_OF_SCHEDULE = re.compile(r'optim_wrapper\.(optimizer|paramwise_cfg)\.|(param_scheduler|auto_scale_lr)(\.|$)|'
                          r'train_cfg\.(max_iters|max_epochs)$')


@dataclass(frozen=True)
class Change:
    """A setting that differs: its dotted key, and the values recorded and given now; None = not set."""
    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f'{self.key} was {self.before!r} and is {self.now!r} now'

    @property
    def is_refused(self) -> bool:
        """Whether the run would no longer be the same one."""
        if self.key == 'optim_wrapper.constructor' and self.before in _ALIKE and self.now in _ALIKE:
            return False
        return bool(_KEPT.match(self.key)) and not _MAY_CHANGE.match(self.key)

    @property
    def is_of_schedule(self) -> bool:
        """Whether the optimizer's settings or their course follow from it."""
        return bool(_OF_SCHEDULE.match(self.key))


def compare_settings(recorded: str, now: str) -> list[Change]:
    """Settings of a training that differ between two configs, each as MMEngine writes it (``pretty_text``).

    Nothing in the texts is executed. ``SyncBN`` counts as ``BN``, and ``GlobalBatchLoop`` as ``IterBasedTrainLoop``.

    Raises:
        ValueError: A text is more than settings.
    """
    before, after = (dict(_leaves(parse_settings(text))) for text in (recorded, now))
    changes = [Change(key, before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after])]
    return [change for change in changes if not _NOT_COMPARED.match(change.key) and change.before != change.now
            and repr(change.before) != repr(change.now)]  # NaN equals itself only so


def _leaves(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _READ:
        yield from _leaves_of(settings.get(name), name)


def _leaves_of(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        parts = enumerate(value)
    else:
        if value is not None:
            yield key, _SAME.get(value, value) if isinstance(value, str) else _listed(value)
        return
    for name, part in parts:
        yield from _leaves_of(part, f'{key}.{name}')


def _listed(value: Any) -> Any:
    """With lists in place of tuples: an option of the command line has no tuples."""
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value
