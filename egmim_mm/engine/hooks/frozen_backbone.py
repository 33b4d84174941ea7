from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Train the heads on a frozen backbone, for the whole run or for its first part.

    Fine-tuning from random heads distorts what the backbone has learned; heads that fit it already distort it less
    (LP-FT, Kumar et al., ICLR 2022). While it is frozen, the backbone has no gradients and is in evaluation mode: no
    stochastic depth, and statistics of its norms as they are. Afterwards its learning rates are those of the schedule,
    times a factor that grows linearly from 0 to 1. All of it follows from the iteration, so that a run can be resumed
    at any point. What ``frozen_stages`` of the backbone holds stays frozen.

    Args:
        until: Share of the run after which the backbone is trained, too; 1: never.
        warmup: Share of the run over which its learning rates then grow. Pretraining, whose optimizer has groups of
            backbone and heads together, takes 0: ``dict(type='egmim_mm.FrozenBackboneHook', until=0.05, warmup=0)``.

    Raises:
        ValueError: Shares out of range. Before training: with ``warmup`` a group of the optimizer holds parameters of
            backbone and heads, or the processes of a distributed run would wait for gradients of the backbone.
    """

    priority = 'HIGHEST'  # learning rates as they act are logged; the schedulers get theirs back

    def __init__(self, until: float = 1.0, warmup: float = 0.1) -> None:
        if not 0 < until <= 1 or not 0 <= warmup <= 1:
            raise ValueError('FrozenBackboneHook: until must be above 0 and at most 1, and warmup in 0..1, both in '
                             f'shares of the run; got until={until} and warmup={warmup}')
        self.until, self.warmup = until, warmup

    def before_train(self, runner: Runner) -> None:
        """Look at what is trained, and say what will happen."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._backbone: nn.Module = model.backbone
        self._parameters = [parameter for parameter in self._backbone.parameters() if parameter.requires_grad]
        self._end = round(self.until * runner.max_iters)
        groups = runner.optim_wrapper.optimizer.param_groups
        self._groups = _groups_of(self._parameters, groups) if self.warmup else []
        self._planned: list[float] = []
        if is_model_wrapper(runner.model) and not getattr(runner.model, 'find_unused_parameters', True):
            raise ValueError('FrozenBackboneHook: the processes would wait for gradients of the frozen backbone: set '
                             'find_unused_parameters=True')
        runner.logger.info(f'The backbone is frozen for {min(self._end, runner.max_iters)} of {runner.max_iters} '
                           'iterations')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Freeze or release the backbone, and set its learning rates for this iteration."""
        frozen = runner.iter < self._end
        for parameter in self._parameters:
            parameter.requires_grad_(not frozen)
        if frozen:
            self._backbone.eval()  # the loop calls model.train() before each iteration
            return
        length = self.warmup * runner.max_iters
        factor = min(1.0, (runner.iter - self._end + 1) / max(length, 1))
        self._planned = [group['lr'] for group in self._groups]
        for group in self._groups:
            group['lr'] *= factor

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Give the schedulers their learning rates back: the next follow from them."""
        for group, lr in zip(self._groups, self._planned):
            group['lr'] = lr
        self._planned = []

    def after_train(self, runner: Runner) -> None:
        """Leave the backbone as it was."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)


def _groups_of(parameters: list[nn.Parameter], groups: list[dict]) -> list[dict]:
    """The groups that hold these parameters and no others."""
    own = {id(parameter) for parameter in parameters}
    held = [[id(parameter) in own for parameter in group['params']] for group in groups]
    if any(any(flags) and not all(flags) for flags in held):
        raise ValueError('FrozenBackboneHook: a group of the optimizer holds parameters of the backbone and of the '
                         'heads, and one learning rate for both: give the heads another lr_mult in '
                         'optim_wrapper.paramwise_cfg.custom_keys, or set optim_wrapper.paramwise_cfg.'
                         'merge_groups=False')
    return [group for group, flags in zip(groups, held) if any(flags)]
