"""What every step returns, kept on the device until somebody reads it: a read each step makes a GPU wait."""
import torch
from mmengine.hooks import CheckpointHook, Hook, LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from egmim_mm.registry import HOOKS

__all__ = ['StepRecordsHook', 'read_now']


def read_now(hook: Hook, runner: Runner) -> bool:
    """Whether this iteration is logged or saved, so that its values have to be known."""
    return hook.is_last_train_iter(runner) or any(
        other.interval > 0 and hook.every_n_train_iters(runner, other.interval)
        for other in runner.hooks if isinstance(other, (LoggerHook, CheckpointHook)))


def scalars(outputs: dict | None) -> dict[str, Tensor]:
    """The tensors with one element, detached, as float32 without dimensions."""
    return {name: value.detach().float().reshape(()) for name, value in (outputs or {}).items()
            if isinstance(value, Tensor) and value.numel() == 1}


@HOOKS.register_module()
class StepRecordsHook(RuntimeInfoHook):
    """MMEngine's RuntimeInfoHook, which writes the losses down when they are logged or saved, not in every step.

    The log holds the same values. ``grad_norm`` of :class:`AutocastOptimWrapper` is one of them.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._kept: list[dict[str, Tensor]] = []

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Keep the values of the step; write down those of all steps if it is time."""
        norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        self._kept.append(scalars(outputs) | scalars(dict(grad_norm=norm)))
        if not read_now(self, runner):
            return
        values = iter(torch.stack([value for step in self._kept for value in step.values()]).tolist())
        for step in self._kept:
            for name in step:
                runner.message_hub.update_scalar(f'train/{name}', next(values))
        self._kept.clear()
