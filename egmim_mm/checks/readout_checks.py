from mmengine.config import Config

from .head_checks import heads_of
from .launch_error import LaunchError

__all__ = ['check_readout']


def check_readout(cfg: Config) -> None:
    """Refuse a read-out that is trained by gradients, a loop for one without it, and heads that nobody would train.

    Raises:
        LaunchError: Says which setting to change.
    """
    kinds = {name: str(head.get('type')).rsplit('.', 1)[-1] for name, head in heads_of(cfg.get('model') or {})}
    loop = str((cfg.get('train_cfg') or {}).get('type')).rsplit('.', 1)[-1]
    if loop != 'ReadoutLoop' and 'ReadoutHead' in kinds.values():
        raise LaunchError(f'egmim_mm.ReadoutHead is fitted at once, not trained by gradients, as {loop} would: set '
                          "train_cfg=dict(_delete_=True, type='egmim_mm.ReadoutLoop')")
    if loop == 'ReadoutLoop' and list(kinds.values()) != ['ReadoutHead']:
        others = ', '.join(name for name, kind in kinds.items() if kind != 'ReadoutHead') or 'a model without heads'
        raise LaunchError('train_cfg.type is egmim_mm.ReadoutLoop, which fits a egmim_mm.ReadoutHead as '
                          f'model.decode_head and nothing else; it would leave {others} untrained: set '
                          "model.decode_head=dict(_delete_=True, type='egmim_mm.ReadoutHead', ...) and "
                          'model.auxiliary_head=None')
