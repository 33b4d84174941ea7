"""Swin models of other libraries at reduced width, with random weights, and ours of the same shape."""
import re
from types import SimpleNamespace

import pytest
import torch


def randomize(model, seed=0):
    """Weights that leave nothing at its initial value, neither norms nor tables."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.eval()  # returns nothing in mmpretrain's Swin
    return model


def _timm_stages(model, images):
    x, outs = model.patch_embed(images), []
    for layer in model.layers:
        x = layer(x)
        outs.append(x.permute(0, 3, 1, 2))
    return outs


def _torchvision_stages(model, images):
    x, outs = images, []
    for index, part in enumerate(model.features):
        x = part(x)
        if index in (1, 3, 5, 7):
            outs.append(x.permute(0, 3, 1, 2))
    return outs


def microsoft(weights):
    """timm's weights as Microsoft's Swin saves them: merging at the end of a stage, and its buffers."""
    renamed = {re.sub(r'layers\.(\d)\.downsample', lambda m: f'layers.{int(m[1]) - 1}.downsample', k).replace(
        'head.fc.', 'head.'): v for k, v in weights.items()}
    for block in {k.rpartition('.norm1.')[0] for k in weights if '.norm1.' in k}:
        renamed[f'{block}.attn.relative_position_index'] = torch.zeros(49, 49, dtype=torch.long)
        renamed[f'{block}.attn_mask'] = torch.zeros(4, 49, 49)
    return renamed


def hugging_face(weights):
    """timm's weights under the names of the checkpoints that Hugging Face publishes."""
    named = {}
    for key, value in microsoft(weights).items():
        if 'relative_position_index' in key or 'attn_mask' in key:
            continue
        parts = key.split('.')
        if parts[0] == 'patch_embed':
            where = 'patch_embeddings.projection' if parts[1] == 'proj' else 'norm'
            named[f'swin.embeddings.{where}.{parts[2]}'] = value
        elif parts[0] == 'norm':
            named[f'swin.layernorm.{parts[1]}'] = value
        elif parts[0] == 'head':
            named[f'classifier.{parts[1]}'] = value
        elif 'downsample' in key:
            named[f'swin.encoder.{key}'] = value
        else:
            block, rest = 'swin.encoder.' + '.'.join(parts[:4]), '.'.join(parts[4:])
            if rest in ('attn.qkv.weight', 'attn.qkv.bias'):
                for name, part in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                    named[f'{block}.attention.self.{name}.{parts[-1]}'] = part
                continue
            for theirs, published in (
                ('norm1', 'layernorm_before'), ('norm2', 'layernorm_after'), ('mlp.fc1', 'intermediate.dense'),
                ('mlp.fc2', 'output.dense'), ('attn.proj', 'attention.output.dense'),
                ('attn.q_bias', 'attention.self.query.bias'), ('attn.v_bias', 'attention.self.value.bias'),
                ('attn.cpb_mlp', 'attention.self.continuous_position_bias_mlp'), ('attn.', 'attention.self.')):
                if rest.startswith(theirs):
                    rest = published + rest.removeprefix(theirs)
                    break
            named[f'{block}.{rest}'] = value
    return named


@pytest.fixture(scope='session')
def foreign():
    """Functions: build a small Swin of timm or torchvision, its four stage outputs, ours for the shape.

    ``microsoft`` and ``hugging_face`` rename timm's weights as those libraries publish theirs.
    """
    from timm.models.swin_transformer import SwinTransformer as TimmSwin
    from timm.models.swin_transformer_v2 import SwinTransformerV2 as TimmSwinV2
    from torchvision.models import swin_transformer as tv

    from egmim_mm.models import MaskedSwinTransformer, MaskedSwinTransformerV2

    def timm(arch, window, size, v2=False, **options):
        kind = TimmSwinV2 if v2 else TimmSwin
        return randomize(kind(img_size=size, window_size=window, embed_dim=arch['embed_dims'], depths=arch['depths'],
                              num_heads=arch['num_heads'], **{'num_classes': 5, **options}))

    def torchvision(arch, window, v2=False):
        blocks = dict(block=tv.SwinTransformerBlockV2, downsample_layer=tv.PatchMergingV2) if v2 else {}
        return randomize(tv.SwinTransformer([4, 4], arch['embed_dims'], arch['depths'], arch['num_heads'],
                                            [window, window], num_classes=5, **blocks))

    def ours(arch, window, v2=False, seed=1, **options):
        kind = MaskedSwinTransformerV2 if v2 else MaskedSwinTransformer
        return randomize(kind(arch=arch, window_size=window, **{'use_mask_token': False, **options}), seed)

    @torch.no_grad()
    def agree(backbone, theirs):
        """Largest difference of the four stages, after our norms, which for stage 4 are theirs too."""
        images, outs = theirs
        difference = []
        for i, (mine, stage) in enumerate(zip(backbone(images), outs, strict=True)):
            normed = getattr(backbone, f'norm{i}')(stage.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            assert normed.std() > 0.1
            difference.append((mine - normed).abs().max().item())
        return max(difference)

    return SimpleNamespace(timm=timm, torchvision=torchvision, ours=ours, agree=agree, timm_stages=_timm_stages,
                           torchvision_stages=_torchvision_stages, microsoft=microsoft, hugging_face=hugging_face)
