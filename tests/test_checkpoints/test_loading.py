"""Backbone weights pass from one phase to the next completely, or not at all."""
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.nn import functional as F

from egmim_mm.checkpoints import BridgedCheckpoint, CheckpointError, convert_state_dict, load_backbone
from egmim_mm.models import EGMIM, MaskedSwinTransformer
from egmim_mm.registry import MODELS

ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
TABLE = 'stages.0.blocks.1.attn.w_msa.relative_position_bias_table'


def swin(seed=0, **options):
    torch.manual_seed(seed)
    backbone = MaskedSwinTransformer(**{**dict(arch=ARCH, img_size=64, window_size=4), **options})
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter)
    return backbone


def pretrained(seed=1):
    init_default_scope('mmpretrain')
    model = EGMIM(
        backbone=dict(type='egmim_mm.MaskedSwinTransformer', arch=ARCH, img_size=64, window_size=4),
        terms=[dict(type='egmim_mm.PixelTerm'), dict(type='egmim_mm.StructureTerm')])
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def segmentor():
    init_default_scope('mmseg')
    common = dict(num_classes=3, channels=8, norm_cfg=dict(type='BN'), align_corners=False,
                  loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True))
    return MODELS.build(Config(dict(
        type='EncoderDecoder',
        backbone=dict(type='egmim_mm.MaskedSwinTransformer', arch=ARCH, img_size=64, window_size=4,
                      use_mask_token=False),
        decode_head=dict(type='UPerHead', in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3], **common)))._cfg_dict)


def save(path, content):
    torch.save(content, path)
    return str(path)


def test_pretraining_to_segmentation(tmp_path):
    source, target = pretrained(), segmentor().backbone
    before = {k: v.clone() for k, v in target.named_parameters()}
    path = save(tmp_path / 'last.pth', dict(meta=dict(iter=3), state_dict=source.state_dict(), optimizer={}))
    report = load_backbone(target, str(tmp_path))
    # pretraining has no norm on stage 3, segmentation no mask token
    assert report.missing == ['norm2.weight', 'norm2.bias']
    assert report.unused == ['mask_token']
    assert report.resized == report.mismatched == []
    assert report.share == pytest.approx(1 - 64 / sum(p.numel() for p in target.parameters()))
    assert report.source == path and report.format == "OpenMMLab, under 'backbone'"
    for name, parameter in target.named_parameters():
        kept = name.startswith('norm2')
        assert torch.equal(parameter, before[name] if kept else source.backbone.get_parameter(name)), name
    text = str(report)
    assert '2 missing' in text and 'norm2.weight, norm2.bias' in text
    assert report.counts()['norms of the stages'] == [6, 0, 0, 2, 0, 0]
    assert report.counts()['mask token'] == [0, 0, 0, 0, 0, 1]
    total = re.search(r'all +(\d+) +0 +0 +2 +0 +1', text)
    assert int(total[1]) == len(report.loaded)
    assert {key.partition('.')[0] for key in report.outside} == {'terms', 'balance'}


@pytest.mark.parametrize('wrap', [
    lambda w: w,
    lambda w: dict(state_dict=w),
    lambda w: dict(model=w),
    lambda w: dict(state_dict={f'module.{k}': v for k, v in w.items()}),
    lambda w: {f'backbone.{k}': v for k, v in w.items()},
    lambda w: dict(state_dict={f'module.backbone.{k}': v for k, v in w.items()} | {'module.head.w': torch.ones(1)}),
    lambda w: {**w, 0: torch.ones(1), 'epoch': 3},
    lambda w: dict(net=dict(ema=w)),
    lambda w: {f'encoder.{k}': v for k, v in w.items()},
    lambda w: {k: v.double() for k, v in w.items()},
])
def test_wrappers_and_prefixes(tmp_path, wrap):
    source, target = swin(1), swin(2)
    report = load_backbone(target, save(tmp_path / 'a.pth', wrap(source.state_dict())))
    assert report.share == 1.0 and report.missing == report.unused == []
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters()))


def test_loaded_backbone_computes_the_same():
    source, images = swin(1), torch.randn(1, 3, 64, 64)
    weights, name = convert_state_dict(source.state_dict())
    target = swin(2)
    target.load_state_dict(weights, strict=False)
    source.eval(), target.eval()
    assert name == 'OpenMMLab'
    assert not any('relative_position_index' in k or 'attn_mask' in k for k in weights)
    assert all(torch.equal(a, b) for a, b in zip(source(images), target(images)))


@pytest.mark.parametrize('window', [2, 3, 7])
def test_tables_are_resized_to_the_window(tmp_path, window):
    source, target = swin(1), swin(2, window_size=window)
    report = load_backbone(target, save(tmp_path / 'a.pth', source.state_dict()))
    assert len(report.resized) == 8 and report.share == 1.0
    side = 2 * window - 1
    for name in report.resized:
        table = source.get_parameter(name)
        heads = table.shape[1]
        grid = table.detach().T.reshape(heads, 1, 7, 7)
        expected = F.interpolate(grid, size=(side, side), mode='bicubic').reshape(heads, side * side).T
        assert torch.allclose(target.get_parameter(name), expected, atol=1e-5)
    others = [n for n, _ in target.named_parameters() if n not in report.resized]
    assert all(torch.equal(source.get_parameter(n), target.get_parameter(n)) for n in others)


def test_resized_table_keeps_directions(tmp_path):
    # a bias that grows with the vertical offset still does, and does not depend on the horizontal one
    source, target = swin(1), swin(2, window_size=7)
    source.get_parameter(TABLE).data.copy_(torch.arange(7.0).repeat_interleave(7)[:, None])
    load_backbone(target, save(tmp_path / 'a.pth', source.state_dict()))
    grid = target.get_parameter(TABLE).detach().view(13, 13)
    assert (grid.diff(dim=0) > 0).all() and torch.allclose(grid, grid[:, :1].expand(13, 13), atol=1e-5)
    assert torch.allclose(grid, -grid.flip(0) + 6, atol=1e-4)


def unchanged(backbone, path, message, **options):
    """The load fails with ``message`` and leaves every parameter as it was; the error as text."""
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as error:
        load_backbone(backbone, path, **options)
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    return str(error.value)


def test_another_architecture(tmp_path):
    path = save(tmp_path / 'wide.pth', swin(1, arch=dict(ARCH, embed_dims=16)).state_dict())
    text = unchanged(swin(2), path, 'Less than 99 % fits')
    assert 'wide.pth' in text and 'patch_embed.projection.weight (16, 3, 4, 4) for (8, 3, 4, 4)' in text
    assert 'embed_dims, depths, num_heads, in_channels' in text
    assert ('holds a Swin with embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], in_channels=3, '
            'window_size=4.') in text


def test_another_depth_or_input(tmp_path):
    deep = swin(2, arch=dict(ARCH, depths=[2, 2, 6, 2]))
    assert 'stages.2.blocks.2' in unchanged(deep, save(tmp_path / 'a.pth', swin(1).state_dict()), 'Less than 99 %')
    few = swin(2, arch=dict(ARCH, num_heads=[2, 4, 8, 16]))
    report = load_backbone(few, save(tmp_path / 'b.pth', swin(1).state_dict()), allow_partial=True)
    assert len(report.mismatched) == 8 and TABLE in ''.join(report.mismatched)


def test_partial_on_purpose(tmp_path):
    source, target = swin(1, patch_size=2), swin(2, arch=dict(ARCH, depths=[2, 2, 6, 2]))
    report = load_backbone(target, save(tmp_path / 'a.pth', source.state_dict()), allow_partial=True)
    assert report.mismatched == ['patch_embed.projection.weight (8, 3, 2, 2) for (8, 3, 4, 4)']
    assert torch.equal(target.get_parameter(TABLE), source.get_parameter(TABLE)) and report.share < 1


def test_weights_that_are_no_swin(tmp_path):
    from torchvision.models import resnet18
    text = unchanged(swin(), save(tmp_path / 'resnet.pth', resnet18().state_dict()), 'no Swin backbone')
    assert 'resnet.pth' in text and 'conv1.weight' in text
    unchanged(swin(), save(tmp_path / 'empty.pth', {}), 'empty.pth: the checkpoint holds no weights')
    unchanged(swin(), save(tmp_path / 'meta.pth', dict(state_dict={}, meta={})), 'holds no weights')
    prefixed = {f'encoder_{k}': v for k, v in swin().state_dict().items()}  # a prefix that matches nothing
    assert 'encoder_' in unchanged(swin(), save(tmp_path / 'prefix.pth', prefixed), 'no Swin backbone')
    # a backbone prefix with something else under it
    other = {f'backbone.{k}': v for k, v in resnet18().state_dict().items()}
    unchanged(swin(), save(tmp_path / 'other.pth', other), 'no Swin backbone')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_nan_weights(tmp_path, value):
    weights = swin(1).state_dict()
    weights['stages.2.blocks.0.ffn.layers.1.bias'][3] = value
    text = unchanged(swin(2), save(tmp_path / 'nan.pth', weights), 'holds NaN or infinity', allow_partial=True)
    assert 'nan.pth: stages.2.blocks.0.ffn.layers.1.bias' in text


@pytest.mark.parametrize('shape', [(48, 1), (0, 1), (49, ), (7, 7, 1)])
def test_table_that_is_none(tmp_path, shape):
    weights, target = swin(1).state_dict(), swin(2)
    weights[TABLE] = torch.zeros(shape)
    report = load_backbone(target, save(tmp_path / 'a.pth', weights), allow_partial=True)
    assert report.mismatched == [f'{TABLE} {shape} for (49, 1)'] and report.resized == []


def test_missing_and_unreadable_files(tmp_path):
    unchanged(swin(), str(tmp_path / 'gone.pth'), 'gone.pth does not exist')
    (tmp_path / 'noise.pth').write_bytes(b'no checkpoint')
    text = unchanged(swin(), str(tmp_path / 'noise.pth'), 'not a readable checkpoint')
    assert text.count('noise.pth') == 1


def test_init_cfg(tmp_path):
    source = swin(1)
    path = save(tmp_path / 'a.pth', source.state_dict())
    target = swin(2, init_cfg=dict(type='egmim_mm.BridgedCheckpoint', source=path))
    target.init_weights()
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters()))
    with pytest.raises(CheckpointError, match='Less than 99 %'):
        BridgedCheckpoint(path)(swin(2, arch=dict(ARCH, embed_dims=16)))
