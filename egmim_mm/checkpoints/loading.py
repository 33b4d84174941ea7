"""Backbone weights of another run or library -> MaskedSwinTransformer, with a report and no silent mismatch."""
import math
import re

import torch
from torch import Tensor, nn

from .adapting import adapt_bands, differs_in_bands, is_square_table, resize_table
from .layouts import Conversion, Weights, convert, is_v2
from .lineage import lineage_of
from .reading import read_checkpoint
from .report import LoadReport
from .sources import CheckpointError, resolve_source

_TABLE = 'relative_position_bias_table'
_BANDS = 'patch_embed.projection.weight'


def convert_state_dict(state_dict: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Keys of a known layout -> keys of :class:`MaskedSwinTransformer` (``V2`` for Swin V2).

    The layout is found by its keys, never by a file name: OpenMMLab (this package, mmpretrain, mmseg), Microsoft
    (Swin, SimMIM, GFM, CMID), timm, torchvision (also torchgeo, SatlasPretrain), Hugging Face transformers. The
    backbone may stand under any prefix.

    Args:
        state_dict: Weights, possibly wrapped in ``state_dict`` / ``model`` / ... and prefixed ``module.``.

    Returns:
        Converted weights without recomputable buffers, and the name of the layout.

    Raises:
        CheckpointError: Empty, or no Swin backbone in it.
    """
    conversion = convert(state_dict)
    return conversion.weights, conversion.format


def read_backbone(source: str, trust: bool = False) -> tuple[str, Conversion, list[dict]]:
    """Path, converted backbone weights and lineage of a checkpoint file, work dir or URL.

    Raises:
        CheckpointError: Unreadable, unsafe, or no Swin backbone in it.
    """
    path = resolve_source(source)
    try:
        checkpoint = read_checkpoint(path, trust)
        return str(path), convert(checkpoint), lineage_of(checkpoint)
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f'{path}: {error}') from error


def describe_arch(weights: Weights) -> str:
    """Settings of the Swin that weights under our names belong to, as one line for a person."""
    blocks = [re.match(r'stages\.(\d)\.blocks\.(\d+)\.', k) for k in weights]
    depths = [len({m[2] for m in blocks if m and int(m[1]) == i}) for i in range(4)]
    tables = [next((v for k, v in weights.items() if k.startswith(f'stages.{i}.') and k.endswith(
        (_TABLE, 'cpb_mlp.2.weight'))), torch.empty(0, 0)) for i in range(4)]
    v2 = is_v2(weights)
    heads = [t.shape[0 if v2 else -1] if t.ndim else 0 for t in tables]
    embedding = weights.get(_BANDS, torch.empty(0, 0))
    sizes = tuple(embedding.shape) + (0, 0)
    window = '' if v2 else f', window_size={(math.isqrt(len(tables[0]) if tables[0].ndim else 0) + 1) // 2}'
    return (f'Swin{" V2" if v2 else ""} with embed_dims={sizes[0]}, depths={depths}, num_heads={heads}, '
            f'in_channels={sizes[1]}{window}')


def load_backbone(backbone: nn.Module, source: str, allow_partial: bool = False, trust: bool = False) -> LoadReport:
    """Load weights into a backbone.

    Position tables are resized to the window, the patch embedding is adapted to the number of input bands.

    Args:
        backbone: Changed in place.
        source: Checkpoint file, work dir or URL.
        allow_partial: Accept less than 99 % of the backbone's parameters.
        trust: See :func:`read_checkpoint`.

    Returns:
        What became of every key.

    Raises:
        CheckpointError: Unreadable, unsafe, another architecture, weights with NaN, or too little loaded.
            The backbone is unchanged then.
    """
    path, conversion, _ = read_backbone(source, trust)
    own = dict(backbone.named_parameters())
    report = LoadReport(path, conversion.format, outside=conversion.outside)
    matched = {}
    for key, parameter in own.items():
        if key not in conversion.weights:
            report.missing.append(key)
            continue
        weight = _fit(key, conversion.weights[key], parameter, report)
        if weight is None:
            continue
        if not torch.isfinite(weight).all():
            raise CheckpointError(f'{path}: {key} holds NaN or infinity')
        matched[key] = weight
    report.loaded = list(matched)
    report.unused = [k for k in conversion.weights if k not in own]
    report.share = sum(own[k].numel() for k in matched) / sum(p.numel() for p in own.values())
    if 'mask_token' in report.missing:
        report.notes.append('The mask token is not in the checkpoint: it starts from random values.')
    elif 'mask_token' in matched and not matched['mask_token'].any():
        report.notes.append('The mask token of the checkpoint is zero: it starts from random values.')
    if report.share < 0.99 and not allow_partial:
        raise CheckpointError(f'{report}\nThe checkpoint holds a {describe_arch(conversion.weights)}.\n'
                              'Less than 99 % fits: the checkpoint is of another architecture or arch setting '
                              '(embed_dims, depths, num_heads, in_channels). Use the same arch in both configs, or '
                              'allow_partial=True (--allow-partial) if this is what you want.')
    with torch.no_grad():
        for key, weight in matched.items():
            own[key].copy_(weight)
    if hasattr(backbone, 'init_mask_token'):
        backbone.init_mask_token()
    return report


def _fit(key: str, weight: Tensor, parameter: Tensor, report: LoadReport) -> Tensor | None:
    """A weight in float32 and the parameter's shape, or None where it cannot have it."""
    shape = parameter.shape
    if weight.shape == shape:
        return weight.float()
    if key.endswith(_TABLE) and is_square_table(weight, shape[1]):
        report.resized.append(key)
        return resize_table(weight.float(), shape[0])
    if key == _BANDS and differs_in_bands(weight, parameter):
        report.adapted.append(key)
        return adapt_bands(weight.float(), shape[1])
    report.mismatched.append(f'{key} {tuple(weight.shape)} for {tuple(shape)}')
    return None
