"""Backbone weights under our names -> files that other libraries read."""
import json
import re
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from egmim_mm.records import whole_file
from egmim_mm.records.provenance import file_sha256
from egmim_mm.version import __version__

from .channel_order import has_merged_channels, to_official
from .layouts import Weights, is_v2
from .loading import read_backbone
from .sources import CheckpointError

_BACKBONE = re.compile(r'(patch_embed\.|mask_token$|stages\.|norm[0-3]\.)')
TARGETS = ('egmim', 'mmseg', 'mmpretrain', 'timm', 'hf')
_SHARED = ((r'^norm[0-2]\.', None), (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'), (r'\.ffn\.layers\.1\.', '.mlp.fc2.'))
_RENAMES = dict(
    timm=(
        (r'^mask_token$', None),
        *_SHARED,
        (r'^norm3\.', 'norm.'),
        (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
        (r'^stages\.', 'layers.'),
        (r'\.attn\.w_msa\.', '.attn.'),
    ),
    hf=(
        *_SHARED,
        (r'^norm3\.', 'layernorm.'),
        (r'^mask_token$', 'embeddings.mask_token'),
        (r'^patch_embed\.projection\.', 'embeddings.patch_embeddings.projection.'),
        (r'^patch_embed\.norm\.', 'embeddings.norm.'),
        (r'^stages\.', 'encoder.layers.'),
        (r'\.norm1\.', '.layernorm_before.'),
        (r'\.norm2\.', '.layernorm_after.'),
        (r'\.mlp\.fc1\.', '.intermediate.dense.'),
        (r'\.mlp\.fc2\.', '.output.dense.'),
        (r'\.attn\.w_msa\.proj\.', '.attention.output.dense.'),
        (r'\.cpb_mlp\.', '.continuous_position_bias_mlp.'),
        (r'\.attn\.w_msa\.', '.attention.self.'),
    ))


def export_weights(weights: Weights, target: str) -> Weights:
    """Weights under our names -> those of another library.

    Args:
        weights: Of :class:`MaskedSwinTransformer` or ``V2``.
        target: ``egmim``: as they are. ``mmseg``, ``mmpretrain``: under ``backbone.``, ``mmseg`` without mask
            token. ``timm``: as its models save them, without head. ``hf``: ``SwinModel`` or ``Swinv2Model`` of
            Hugging Face transformers. The norms of stages 1-3 exist in OpenMMLab alone.

    Raises:
        CheckpointError: MMSegmentation has no Swin V2.
    """
    weights = {k: v for k, v in weights.items() if _BACKBONE.match(k)}  # a head may stand beside it
    if target == 'egmim':
        return weights
    if target in ('mmseg', 'mmpretrain'):
        if target == 'mmseg' and is_v2(weights):
            raise CheckpointError('MMSegmentation has no Swin V2: use --to mmpretrain')
        return {f'backbone.{k}': v for k, v in weights.items() if target == 'mmpretrain' or k != 'mask_token'}
    swin = not is_v2(weights)
    # timm, unlike Microsoft and Hugging Face, has patch merging at the beginning of a stage
    step = int(target == 'timm') - int(not swin)
    exported = {}
    for key, weight in weights.items():
        if has_merged_channels(key, weight, swin):
            weight = to_official(weight)
        key = re.sub(r'^stages\.(\d)\.downsample\.', lambda m: f'stages.{int(m[1]) + step}.downsample.', key)
        for pattern, replacement in _RENAMES[target]:
            if replacement is None and re.search(pattern, key):
                break
            key = re.sub(pattern, replacement or '', key)
        else:
            exported |= _split_query(key, weight) if target == 'hf' else {key: weight}
    return exported


def _split_query(key: str, weight: Tensor) -> Weights:
    attention, _, name = key.rpartition('.')
    if name in ('q_bias', 'v_bias'):
        return {f'{attention}.{"query" if name == "q_bias" else "value"}.bias': weight}
    if not attention.endswith('.qkv'):
        return {key: weight}
    parts = zip(('query', 'key', 'value'), weight.chunk(3), strict=True)
    return {f'{attention.removesuffix("qkv")}{part}.{name}': tensor for part, tensor in parts}


def convert_file(source: str, target: Path, to: str = 'egmim', trust: bool = False) -> dict[str, str]:
    """Write the backbone of a checkpoint as a clean file: tensors and text, nothing to unpickle.

    Args:
        source: File, work dir or URL of any known layout.
        target: New file, ``.safetensors`` or ``.pth``.
        to: See :func:`export_weights`.
        trust: See :func:`read_checkpoint`.

    Returns:
        The metadata of the file: ``source_sha256``, ``source_format``, ``layout``, ``lineage`` (JSON: the runs
        that the weights went through, and this conversion), ``egmim_mm`` (version).

    Raises:
        CheckpointError: Unreadable, no Swin, NaN or infinite weights, or a target that exists or is of another kind.
    """
    target = Path(target)
    if target.suffix not in ('.safetensors', '.pth'):
        raise CheckpointError(f'{target}: the new file must end in .safetensors or .pth')
    if target.suffix == '.safetensors' and to in ('mmseg', 'mmpretrain'):
        raise CheckpointError(f'{target}: OpenMMLab reads no .safetensors, so --to {to} needs a .pth')
    if target.exists():
        raise CheckpointError(f'{target} exists: choose another name')
    path, backbone, lineage = read_backbone(source, trust)
    for key, weight in backbone.weights.items():
        if not torch.isfinite(weight.float()).all():
            raise CheckpointError(f'{path}: {key} holds NaN or infinity')
    digest = file_sha256(path)
    lineage = [*lineage, dict(experiment='convert_checkpoint', config=None, iterations=0, seed=None, source=digest)]
    meta = dict(format='pt', layout=to, source_sha256=digest, source_format=backbone.format, egmim_mm=__version__)
    # copies: safetensors refuses tensors that share memory
    exported = export_weights(backbone.weights, to)
    weights = {k: v.clone(memory_format=torch.contiguous_format) for k, v in exported.items()}
    with whole_file(target) as draft:
        if target.suffix == '.safetensors':
            save_file(weights, draft, dict(meta, lineage=json.dumps(lineage)))
        elif to in ('timm', 'hf'):
            bare = OrderedDict(weights)  # as they expect it; torch loads this attribute with it and minds its own keys
            bare._metadata = dict(egmim_mm=dict(meta, lineage=lineage))
            torch.save(bare, draft)
        else:
            torch.save(dict(state_dict=weights, meta=dict(meta, lineage=lineage)), draft)
    return dict(meta, lineage=json.dumps(lineage))
