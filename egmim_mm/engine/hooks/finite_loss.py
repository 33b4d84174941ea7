import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at the first NaN or infinite loss, before the weights it spoiled can be saved.

    Raises:
        FloatingPointError: Names the iteration, the loss terms and the last good checkpoint.
    """

    priority = 'ABOVE_NORMAL'  # before the checkpoint hook

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        bad = [name for name, value in outputs.items()
               if isinstance(value, torch.Tensor) and not torch.isfinite(value).all()]
        if bad:
            last = runner.message_hub.get_info('last_ckpt') if 'last_ckpt' in runner.message_hub.runtime_info else None
            raise FloatingPointError(
                f'{", ".join(bad)} became NaN or infinite at iteration {runner.iter + 1}. '
                f'Last good checkpoint: {last or "none was saved yet"}. Lower the learning rate, train without --amp, '
                'or look for corrupt input, then go on with --resume.')
