
import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class GlobalLossHook(Hook):
    """Average what a step returns over all processes, before anything is logged or checked.

    MMEngine logs the first process's share of the batch. With the average the curve does not depend on the
    number of processes, and a NaN in one process stops all of them instead of leaving the others waiting.
    """

    priority = 'HIGHEST'  # before RuntimeInfoHook, which records the values for the log

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        if get_world_size() == 1:
            return
        names = [name for name, value in outputs.items() if isinstance(value, torch.Tensor) and value.numel() == 1]
        values = torch.stack([outputs[name].detach().float().reshape(()) for name in names])
        all_reduce(values, 'mean')
        outputs.update(zip(names, values))
