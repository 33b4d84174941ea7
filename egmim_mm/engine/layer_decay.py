"""Layer-wise learning-rate decay for a Swin backbone."""
import re

from mmengine.logging import print_log
from torch import nn

from egmim_mm.records.tables import make_table, table_text
from egmim_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .optimizer_groups import MergedGroups


def swin_layer(name: str, depths: list[int], merging_first: bool = False) -> int:
    """Number of the layer that a parameter belongs to, as SimMIM counts (Xie et al., CVPR 2022, its fine-tuning code).

    Args:
        name: Of the parameter in the whole model.
        depths: Blocks in each stage.
        merging_first: Whether patch merging begins a stage (Swin V2) instead of ending it.

    Returns:
        0 for patch embedding and mask token, 1 ... sum(depths) for the blocks; patch merging counts with the
        block before it; sum(depths) + 1 for the norms of the stages and everything outside the backbone.
    """
    name = name.removeprefix('student.')  # of MeanTeacherSegmentor
    if re.match(r'backbone\.(patch_embed\.|mask_token$)', name):
        return 0
    if block := re.match(r'backbone\.stages\.(\d+)\.blocks\.(\d+)\.', name):
        return sum(depths[:int(block[1])]) + int(block[2]) + 1
    if merging := re.match(r'backbone\.stages\.(\d+)\.downsample\.', name):
        return sum(depths[:int(merging[1]) + (not merging_first)])
    return sum(depths) + 1


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SwinLayerDecay(MergedGroups):
    """:class:`MergedGroups`, with learning rates that fall from the head to the first layer of a Swin.

    A layer n of N + 1 = sum(depths) + 1 gets ``lr * decay_rate ** (N + 1 - n)``; see :func:`swin_layer`. All other
    settings of ``paramwise_cfg`` act as usual. The table of layers is logged.

    Example: ``optim_wrapper=dict(constructor='egmim_mm.SwinLayerDecay', paramwise_cfg=dict(decay_rate=0.9))``.

    Args:
        optim_wrapper_cfg: As MMEngine's.
        paramwise_cfg: As MergedGroups', with ``decay_rate`` in (0, 1].

    Raises:
        ValueError: ``decay_rate`` is missing or out of range, or the model has no Swin backbone.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        paramwise_cfg = dict(paramwise_cfg or {})
        self.decay_rate = paramwise_cfg.pop('decay_rate', None)
        if not isinstance(self.decay_rate, (int, float)) or not 0 < self.decay_rate <= 1:
            raise ValueError('SwinLayerDecay: paramwise_cfg.decay_rate must be above 0 and at most 1, '
                             f'got {self.decay_rate}')
        # without any setting MMEngine would not look at the parameters one by one
        super().__init__(optim_wrapper_cfg, dict(bias_lr_mult=1.0) | paramwise_cfg)

    def finish_groups(self, params: list[dict], model: nn.Module) -> None:
        """Decay the learning rates of the whole model, then merge."""
        backbone = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'stages'):
            raise ValueError(f'SwinLayerDecay: {type(model).__name__} has no Swin as model.backbone')
        depths = [len(stage.blocks) for stage in backbone.stages]
        merging_first = backbone.stages[0].downsample is None
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        last = sum(depths) + 1
        sizes: dict[int, int] = {}
        for group in params:
            parameter = group['params'][0]
            layer = swin_layer(names[id(parameter)], depths, merging_first)
            group['lr'] = group.get('lr', self.base_lr) * self.decay_rate**(last - layer)
            sizes[layer] = sizes.get(layer, 0) + parameter.numel()
        print_log(f'Learning rates of the layers:\n{self._table(depths, sizes)}', logger='current')
        super().finish_groups(params, model)

    def _table(self, depths: list[int], sizes: dict[int, int]) -> str:
        blocks = [f'stage {i + 1}, block {j + 1}' for i, depth in enumerate(depths) for j in range(depth)]
        what = ['patch embedding', *blocks, 'norms of the stages, heads']
        cells = [(layer, what[layer], f'{self.base_lr * self.decay_rate**(len(what) - 1 - layer):.3g}',
                  f'{sizes[layer]:,}') for layer in sorted(sizes)]
        return table_text(make_table(('layer', 'what'), ('lr', 'parameters'), cells, style='simple'))
