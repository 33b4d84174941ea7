"""Backbone weights of another run -> MaskedSwinTransformer, with a report and no silent mismatch."""
import math
import re
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import CheckpointError
from .reading import read_checkpoint, resolve_source

# recomputed by the model, and of a size that depends on the window
_BUFFERS = re.compile(r'(relative_position_index|relative_coords_table|attn_mask)$')
_TABLE = 'relative_position_bias_table'
_POSITIONS = (_TABLE, 'cpb_mlp.0.weight')  # of Swin, of Swin V2


@dataclass
class LoadReport:
    """What became of every key. ``share`` is the share of backbone parameters (by count) that were loaded."""
    source: str
    format: str
    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    share: float = 0.0

    def __str__(self) -> str:
        lines = [f'Backbone from {self.source} ({self.format}): {self.share:.2%} of its parameters loaded']
        notes = dict(resized='position tables resized to the window', missing='not in the checkpoint, keep their '
                     'initial values', mismatched='another shape, not loaded', unused='in the checkpoint, not used')
        lines.append(f'  {len(self.loaded):4d} loaded')
        for name, note in notes.items():
            keys = getattr(self, name)
            if keys:
                shown = ', '.join(keys[:6]) + (', ...' if len(keys) > 6 else '')
                lines.append(f'  {len(keys):4d} {name} ({note}): {shown}')
        return '\n'.join(lines)


def convert_state_dict(state_dict: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Keys of a known layout -> keys of :class:`MaskedSwinTransformer`.

    The layout is found by its keys, never by a file name: a model of this package, of mmpretrain or of
    mmsegmentation (backbone under ``backbone.``), or a bare backbone.

    Args:
        state_dict (dict): Weights, possibly wrapped in ``state_dict`` / ``model`` and prefixed ``module.``.

    Returns:
        tuple[dict, str]: Converted weights without recomputable buffers, and the name of the layout.

    Raises:
        CheckpointError: Empty, or no Swin backbone in it.
    """
    for wrapper in ('state_dict', 'model'):
        if isinstance(state_dict.get(wrapper), dict):
            state_dict = state_dict[wrapper]
    weights = {k.removeprefix('module.'): v for k, v in state_dict.items()
               if isinstance(k, str) and isinstance(v, Tensor)}
    if not weights:
        raise CheckpointError('the checkpoint holds no weights')
    name = 'bare MaskedSwinTransformer'
    if any(k.startswith('backbone.') for k in weights):
        weights = {k.removeprefix('backbone.'): v for k, v in weights.items() if k.startswith('backbone.')}
        name = 'OpenMMLab model with a backbone'
    if not any(k.endswith(_POSITIONS) for k in weights) or 'patch_embed.projection.weight' not in weights:
        raise CheckpointError('no Swin backbone of a known layout in it; its first keys are '
                              + ', '.join(list(weights)[:4]))
    return {k: v for k, v in weights.items() if not _BUFFERS.search(k)}, name


def resize_table(table: Tensor, length: int) -> Tensor:
    """Relative position table ((2w - 1)^2, heads) of one window -> ((2v - 1)^2 = length, heads), bicubic."""
    old, new = round(table.shape[0]**0.5), round(length**0.5)
    grid = table.T.reshape(1, -1, old, old)
    return F.interpolate(grid, size=(new, new), mode='bicubic', align_corners=False).reshape(-1, length).T.contiguous()


def _is_square_table(table: Tensor, heads: int) -> bool:
    return table.ndim == 2 and table.shape[1] == heads and math.isqrt(len(table))**2 == len(table) > 0


def load_backbone(backbone: nn.Module, source: str, allow_partial: bool = False, trust: bool = False) -> LoadReport:
    """Load weights into a backbone.

    Args:
        backbone (MaskedSwinTransformer): Changed in place.
        source (str): Checkpoint file or work dir.
        allow_partial (bool): Accept less than 99 % of the backbone's parameters.
        trust (bool): See :func:`read_checkpoint`.

    Returns:
        LoadReport: What became of every key.

    Raises:
        CheckpointError: Unreadable, unsafe, another architecture, weights with NaN, or too little loaded.
            The backbone is unchanged then.
    """
    path = resolve_source(source)
    try:
        weights, layout = convert_state_dict(read_checkpoint(path, trust))
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f'{path}: {error}') from error

    own = dict(backbone.named_parameters())
    report = LoadReport(str(path), layout)
    matched = {}
    for key, parameter in own.items():
        if key not in weights:
            report.missing.append(key)
            continue
        weight = weights[key]
        if key.endswith(_TABLE) and weight.shape != parameter.shape and _is_square_table(weight, parameter.shape[1]):
            weight = resize_table(weight.float(), parameter.shape[0])
            report.resized.append(key)
        if weight.shape != parameter.shape:
            report.mismatched.append(f'{key} {tuple(weight.shape)} for {tuple(parameter.shape)}')
            continue
        if not torch.isfinite(weight).all():
            raise CheckpointError(f'{path}: {key} holds NaN or infinity')
        matched[key] = weight
    report.loaded = list(matched)
    report.unused = [k for k in weights if k not in own]
    report.share = sum(own[k].numel() for k in matched) / sum(p.numel() for p in own.values())
    if report.share < 0.99 and not allow_partial:
        raise CheckpointError(f'{report}\nLess than 99 % fits: the checkpoint is of another architecture or arch '
                              'setting (embed_dims, depths, num_heads, in_channels). Use the same arch in both '
                              'configs, or allow_partial=True if this is what you want.')
    with torch.no_grad():
        for key, weight in matched.items():
            own[key].copy_(weight)
    if hasattr(backbone, 'init_mask_token'):
        backbone.init_mask_token()
    return report
