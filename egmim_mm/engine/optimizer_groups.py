"""Few parameter groups, one for each combination of settings, and the fused form of the optimizer."""
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.optim import Optimizer

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

__all__ = ['MergedGroups', 'check_groups', 'merge_groups']

_MULTIPLIERS = ('lr_mult', 'decay_mult')  # MMEngine leaves them in the groups; lr and weight_decay hold their effect
_FUSED = ('Adam', 'AdamW', 'SGD', 'Adagrad')  # what PyTorch has a fused form of, on CPU and CUDA


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedGroups(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with parameters of equal settings in one group.

    MMEngine makes a group for each parameter, and an optimizer launches its kernels group by group. The training is
    the same up to rounding. Where PyTorch has a fused form of the optimizer it is used, unless the config says
    ``fused=False`` (or ``foreach``).

    Args:
        optim_wrapper_cfg: As MMEngine's.
        paramwise_cfg: As MMEngine's, and ``merge_groups`` (True); False is for going on with runs that were started
            with a group for each parameter.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        paramwise_cfg = dict(paramwise_cfg or {})
        self.merge = paramwise_cfg.pop('merge_groups', True)
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        self.optimizer_cfg = self.optimizer_cfg.copy()
        if self.optimizer_cfg['type'] in _FUSED and self.optimizer_cfg.get('foreach') is None:
            self.optimizer_cfg.setdefault('fused', True)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """Add a group for each parameter; those of the whole model are then merged."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if not prefix:
            self.finish_groups(params, module)

    def finish_groups(self, params: list[dict], model: nn.Module) -> None:
        """Change the groups of the whole model, one for each parameter, in place."""
        if self.merge:
            params[:] = merge_groups(params, lr=self.base_lr, weight_decay=self.base_wd)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        inner = model.module if hasattr(model, 'module') else model
        if any(p.device.type not in ('cpu', 'cuda') or not p.is_floating_point() for p in inner.parameters()):
            self.optimizer_cfg.pop('fused', None)
        return super().__call__(model)


def merge_groups(groups: list[dict], **defaults) -> list[dict]:
    """Parameter groups with equal settings become one, in the order in which the settings first appear.

    Args:
        groups: As an optimizer takes them.
        defaults: Settings of the optimizer for groups that state none; None = the optimizer has no such setting.
    """
    defaults = {name: value for name, value in defaults.items() if value is not None}
    merged: dict[str, dict] = {}
    for group in groups:
        settings = defaults | {k: v for k, v in group.items() if k != 'params' and k not in _MULTIPLIERS}
        key = repr(sorted(settings.items()))
        merged.setdefault(key, dict(settings, params=[]))['params'].extend(group['params'])
    return list(merged.values())


def check_groups(optimizer: Optimizer, state: dict) -> None:
    """Compare the groups of an optimizer with those in a checkpoint: its moments can only be taken over group by group.

    Args:
        optimizer: As built from the config.
        state: Of the optimizer of the run so far.

    Raises:
        CheckpointError: They group the parameters in another way; the message says how to go on.
    """
    saved, ours = ([len(group['params']) for group in groups]
                   for groups in (state['param_groups'], optimizer.param_groups))
    if saved == ours:
        return
    if sum(saved) == sum(ours) and set(saved) == {1}:
        raise CheckpointError(f'the checkpoint is of a run with an optimizer group for each of its {len(saved)} '
                              'parameters: to go on with it add --cfg-options '
                              'optim_wrapper.paramwise_cfg.merge_groups=False')
    raise CheckpointError(f"the optimizer's groups in the checkpoint hold {saved} parameters, those of this config "
                          f'{ours}: resume with the model and the optim_wrapper that the run was started with')
