"""Naming of Swin weights in other libraries -> that of MaskedSwinTransformer(V2), found by the keys alone."""
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from .channel_order import from_official, has_merged_channels
from .sources import CheckpointError

Weights = dict[str, Tensor]

# in this order: an average of weights is taken only where there is nothing else
_WRAPPERS = ('state_dict', 'model', 'model_state_dict', 'module', 'net', 'backbone', 'encoder', 'student',
             'state_dict_ema', 'model_ema', 'ema_state_dict', 'ema', 'teacher')
# second copies of a backbone in one model
_COPIES = re.compile(r'(^|[._])(ema|teacher|target|momentum|anchor)[._]')
# recomputed by the model, and of a size that depends on the window or the image
_BUFFERS = re.compile(r'(relative_position_index|relative_coords_table|attn_mask|k_bias)$')
_POSITIONS = ('relative_position_bias_table', 'cpb_mlp.0.weight')  # of Swin, of Swin V2


@dataclass(frozen=True)
class Layout:
    """A naming: the key by which it is known (its patch embedding) and how its names become ours."""
    name: str
    anchor: str
    renames: tuple[tuple[str, str], ...] = ()
    official_order: bool = True  # of the channels in patch merging


_ATTENTION = (r'\.attn\.', '.attn.w_msa.')
LAYOUTS = (
    Layout('OpenMMLab', 'patch_embed.projection.weight', official_order=False),
    Layout('Microsoft', 'patch_embed.proj.weight', (
        (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
        (r'^layers[._](\d)\.', r'stages.\1.'),  # timm's features_only models write layers_0
        _ATTENTION,
        (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
        (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
        (r'^norm\.', 'norm3.'),
    )),
    Layout('torchvision', 'features.0.0.weight', (
        (r'^features\.0\.0\.', 'patch_embed.projection.'),
        (r'^features\.0\.2\.', 'patch_embed.norm.'),
        *((rf'^features\.{2 * i + 1}\.', f'stages.{i}.blocks.') for i in range(4)),
        *((rf'^features\.{2 * i + 2}\.', f'stages.{i}.downsample.') for i in range(3)),
        _ATTENTION,
        (r'\.mlp\.0\.', '.ffn.layers.0.0.'),
        (r'\.mlp\.3\.', '.ffn.layers.1.'),
        (r'^norm\.', 'norm3.'),
    )),
    # published names, and those of the classes of transformers 5
    Layout('Hugging Face', 'embeddings.patch_embeddings.projection.weight', (
        (r'^embeddings\.patch_embeddings\.', 'patch_embed.'),
        (r'^embeddings\.norm\.', 'patch_embed.norm.'),
        (r'^embeddings\.mask_token$', 'mask_token'),
        (r'^encoder\.layers\.', 'stages.'),
        (r'\.layernorm_before\.', '.norm1.'),
        (r'\.layernorm_after\.', '.norm2.'),
        (r'\.attention\.(output\.dense|o_proj)\.', '.attn.w_msa.proj.'),
        (r'\.attention\.(?:self\.)?([qkv])(?:uery|ey|alue|_proj)\.', r'.attn.w_msa.\1.'),
        (r'\.attention\.(self|relative_position_bias)\.', '.attn.w_msa.'),
        (r'\.continuous_position_bias_mlp\.', '.cpb_mlp.'),
        (r'\.(intermediate\.dense|mlp\.fc1)\.', '.ffn.layers.0.0.'),
        (r'\.(output\.dense|mlp\.fc2)\.', '.ffn.layers.1.'),
        (r'^layernorm\.', 'norm3.'),
        *((rf'^hidden_states_norms\.stage{i + 1}\.', f'norm{i}.') for i in range(4)),
    )),
)


@dataclass
class Conversion:
    """Weights under our names, where they were, and the keys that belong to other parts of the model."""
    weights: Weights
    format: str
    outside: list[str]


def unwrap(checkpoint: dict) -> Weights:
    """The weights of a checkpoint: out of ``state_dict`` / ``model`` / ... and without ``module.``.

    Raises:
        CheckpointError: No weights in it.
    """
    for _ in range(4):  # a file may hold a dictionary that holds itself
        inner = next((checkpoint[w] for w in _WRAPPERS if isinstance(checkpoint.get(w), dict) and checkpoint[w]), None)
        if inner is None:
            break
        checkpoint = inner
    weights = {k.removeprefix('module.'): v for k, v in checkpoint.items() if isinstance(k, str) and is_weight(v)}
    if not weights:
        raise CheckpointError('the checkpoint holds no weights')
    return weights


def is_weight(value) -> bool:
    """Whether a value is an ordinary floating-point tensor that fills its memory.

    A tiny file can declare a tensor of any size with strides of zero; using it would take that much memory.
    """
    return (isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == 'cpu'
            and value.is_floating_point() and not value.is_quantized
            and value.numel() * value.element_size() <= value.untyped_storage().nbytes())


def convert(checkpoint: dict) -> Conversion:
    """Weights of a known layout -> those of :class:`MaskedSwinTransformer` or ``V2``.

    Args:
        checkpoint: As read.

    Raises:
        CheckpointError: No weights, or no Swin of a known layout.
    """
    weights = unwrap(checkpoint)
    for layout, prefix in _candidates(weights):
        inside = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        ours = _rename(inside, layout)
        if any(k.endswith(_POSITIONS) for k in ours):
            name = _name(layout, inside) + (f', under {prefix[:-1]!r}' if prefix else '')
            outside = [k for k in weights if not k.startswith(prefix)]
            return Conversion(ours, name, outside)
    raise CheckpointError('no Swin backbone of a known layout in it ('
                          + ', '.join(layout.name for layout in LAYOUTS) + '; timm and SimMIM name as Microsoft); '
                          'its first keys are ' + ', '.join(list(weights)[:4]))


def _candidates(weights: Weights):
    """Layouts and prefixes under which a patch embedding was found; the model's own before copies of it."""
    places = [(layout, key.removesuffix(layout.anchor)) for key in weights for layout in LAYOUTS
             if key == layout.anchor or key.endswith('.' + layout.anchor)]
    return sorted(places, key=lambda place: (bool(_COPIES.search(place[1])), len(place[1]), place[1]))


def _name(layout: Layout, keys) -> str:
    if layout.name != 'Microsoft':
        return layout.name
    current_timm = any(k.startswith(('layers.3.downsample.', 'layers_3.downsample.')) for k in keys)
    return 'timm' if current_timm else 'Microsoft'


def is_v2(weights: Weights) -> bool:
    """Whether weights under our names are those of Swin V2."""
    return any('.cpb_mlp.' in k for k in weights)


def _rename(weights: Weights, layout: Layout) -> Weights:
    ours = {}
    for key, weight in weights.items():
        if _BUFFERS.search(key):
            continue
        for pattern, replacement in layout.renames:
            key = re.sub(pattern, replacement, key)
        ours[key] = weight
    ours = _place_merging(_join_queries(ours))
    if layout.official_order:
        swin = not is_v2(ours)
        ours = {k: from_official(v) if has_merged_channels(k, v, swin) else v for k, v in ours.items()}
    return ours


def _place_merging(weights: Weights) -> Weights:
    """Patch merging between two stages belongs to the earlier one in Swin and to the later one in Swin V2."""
    at_end = any(k.startswith('stages.0.downsample.') for k in weights)
    step = 1 if at_end and is_v2(weights) else -1 if not at_end and not is_v2(weights) else 0
    return {re.sub(r'^stages\.(\d)\.downsample\.', lambda m: f'stages.{int(m[1]) + step}.downsample.', k): v
            for k, v in weights.items()}


def _join_queries(weights: Weights) -> Weights:
    """Separate query, key and value -> qkv; in Swin V2 the bias of qkv -> q_bias and v_bias (keys have none)."""
    weights = dict(weights)
    v2 = is_v2(weights)
    for attention in {k.rpartition('.q.')[0] for k in weights if k.endswith('.attn.w_msa.q.weight')}:
        for kind in ('weight', 'bias'):
            names = [f'{attention}.{part}.{kind}' for part in 'qkv']
            if v2 and kind == 'bias':
                for name, new in ((names[0], 'q_bias'), (names[2], 'v_bias')):
                    if name in weights:
                        weights[f'{attention}.{new}'] = weights.pop(name)
            elif _same_shape([weights.get(name) for name in names]):
                weights[f'{attention}.qkv.{kind}'] = torch.cat([weights.pop(name) for name in names])
    if v2:
        for name in [k for k in weights if k.endswith('.attn.w_msa.qkv.bias')]:
            bias = weights.pop(name)
            attention, third = name.removesuffix('.qkv.bias'), bias.numel() // 3
            weights[f'{attention}.q_bias'] = bias.flatten()[:third]
            weights[f'{attention}.v_bias'] = bias.flatten()[2 * third:]
    return weights


def _same_shape(tensors: list) -> bool:
    return all(t is not None and t.ndim > 0 and t.shape == tensors[0].shape and t.dtype == tensors[0].dtype
               for t in tensors)
