import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from egmim_mm.registry import HOOKS

from .step_records import read_now, scalars


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop after the first NaN or infinite loss, before the weights it spoiled can be saved.

    The losses are looked at when they are logged or weights are saved: looking at each would make a GPU wait.

    Raises:
        FloatingPointError: Names the iteration, the loss terms and the last good checkpoint.
    """

    priority = 'ABOVE_NORMAL'  # before the checkpoint hook

    def before_train(self, runner: Runner) -> None:
        self._kept: list[tuple[int, dict[str, Tensor]]] = []

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Keep the losses of the step; look at those of all steps if it is time."""
        self._kept.append((runner.iter + 1, scalars(outputs)))
        if not read_now(self, runner):
            return
        finite = iter(torch.stack([value for _, step in self._kept for value in step.values()]).isfinite().tolist())
        kept, self._kept = self._kept, []
        for iteration, step in kept:
            bad = [name for name in step if not next(finite)]
            if bad:
                hub = runner.message_hub
                last = hub.get_info('last_ckpt') if 'last_ckpt' in hub.runtime_info else None
                raise FloatingPointError(
                    f'{", ".join(bad)} became NaN or infinite at iteration {iteration}. Last good checkpoint: '
                    f'{last or "none was saved yet"}. Lower the learning rate, train in full precision '
                    '(--cfg-options optim_wrapper.precision=float32), or look for corrupt input, then go on with '
                    '--resume.')
