"""One training step: precision of the forward pass, clipping, update; nothing in it waits for the device."""
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from egmim_mm.precision import autocast_for
from egmim_mm.registry import OPTIM_WRAPPERS

__all__ = ['AutocastOptimWrapper']


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """MMEngine's wrapper with bfloat16 autocast, on CPUs too, and without a gradient scaler, which bfloat16 needs not.

    The norm of the gradients stays on the device as ``grad_norm``; :class:`StepRecordsHook` logs it.

    Args:
        precision: ``auto``, ``bfloat16`` or ``float32``; see :func:`egmim_mm.precision.choose_precision`.
        kwargs: Of MMEngine's.
    """

    def __init__(self, precision: str = 'auto', **kwargs) -> None:
        super().__init__(**kwargs)
        self.precision = precision
        self.device = self.optimizer.param_groups[0]['params'][0].device
        self.grad_norm: Tensor | None = None
        autocast_for(self.device, precision)  # says now what is wrong with it

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast for the forward pass, and no synchronisation while gradients are accumulated."""
        with super().optim_context(model), autocast_for(self.device, self.precision):
            yield

    def _clip_grad(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if parameters:
            self.grad_norm = self.clip_func(parameters, **self.clip_grad_kwargs)
