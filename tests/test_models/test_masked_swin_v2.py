"""MaskedSwinTransformerV2: mmpretrain's Swin V2 with hidden tokens, from pretraining to segmentation."""
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import PixelData
from mmpretrain.models import SwinTransformerV2
from mmseg.structures import SegDataSample

from egmim_mm.checkpoints import CheckpointError, load_backbone
from egmim_mm.models import MaskedSwinTransformer, MaskedSwinTransformerV2
from egmim_mm.registry import MODELS

ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
FULL_ARCH = dict(ARCH, extra_norm_every_n_blocks=0)


def swin(seed=0, kind=MaskedSwinTransformerV2, **options):
    """Every parameter random, so that no zero bias or unit norm hides a difference."""
    torch.manual_seed(seed)
    backbone = kind(**{**dict(arch=ARCH, img_size=64, window_size=4), **options})
    for name, parameter in backbone.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if 'norm' in name and name.endswith('weight') else 0.0, 0.2)
    backbone.eval()  # returns None in this stack
    return backbone


@pytest.mark.parametrize('height, width, window, every', [
    (64, 64, 4, 0),  # shifted windows in stages 1 and 2; stage 3 is one window, stage 4 is smaller than one
    (80, 112, 4, 0),  # maps that are no multiple of the window
    (128, 128, 4, 0),  # the last stage is exactly one window
    (64, 64, 8, 0),
    (64, 64, [4, 4, 2, 2], 2),  # extra norms, as huge and giant have them
])
def test_equals_mmpretrain(height, width, window, every):
    arch = dict(ARCH, extra_norm_every_n_blocks=every)
    ours = swin(arch=arch, window_size=window)
    theirs = SwinTransformerV2(arch, img_size=64, window_size=window, drop_path_rate=0.0, out_indices=(0, 1, 2, 3),
                               pad_small_map=True)
    theirs.eval()
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert unexpected == ['mask_token']
    assert all(k.endswith(('relative_position_index', 'relative_coords_table')) for k in missing)
    images = torch.randn(2, 3, height, width)
    with torch.no_grad():
        for stage, (a, b) in enumerate(zip(ours(images), theirs(images), strict=True)):
            assert a.shape == (2, 8 * 2**stage, -(-height // 2**(stage + 2)), -(-width // 2**(stage + 2)))
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_loads_strictly_what_it_saved_and_what_mmpretrain_saved(capfd):
    source, target = swin(1), swin(2)
    target.load_state_dict(source.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters()))
    load_state_dict(swin(2), source.state_dict(), strict=True)
    stock = SwinTransformerV2(FULL_ARCH, img_size=64, window_size=4, out_indices=(0, 1, 2, 3))
    weights = dict(stock.state_dict(), mask_token=torch.ones(1, 1, 8))
    target.load_state_dict(weights)
    assert all(torch.equal(p, weights[n]) for n, p in target.named_parameters())
    assert 'stages.0.blocks.0.attn.w_msa.relative_coords_table' in weights  # the caller's own is left alone
    assert 'Delete' not in ''.join(capfd.readouterr())


def test_blocks_start_as_the_identity():
    torch.manual_seed(0)
    backbone = MaskedSwinTransformerV2(ARCH, img_size=64, window_size=4, out_indices=(0, ))
    backbone.init_weights()
    images = torch.randn(1, 3, 64, 64)
    tokens, _ = backbone.patch_embed(images)
    expected = backbone.norm0(tokens).transpose(1, 2).view(1, 8, 16, 16)
    assert torch.allclose(backbone(images)[0], expected, atol=1e-6)
    qkv = backbone.stages[3].blocks[0].attn.w_msa.qkv
    assert abs(qkv.weight.std().item() - 0.02) < 0.001 and 0.005 < backbone.mask_token.std() < 0.05


def test_every_parameter_learns(build, normalized):
    model = build('egmim_swinv2-tiny')
    inputs = normalized(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)  # no weight decay: only a gradient moves anything
    for _ in range(3):  # blocks that start as the identity pass no gradient on in the first step
        optimizer.zero_grad()
        sum(v for k, v in model.loss(inputs).items() if 'loss' in k).backward()
        optimizer.step()
    assert [n for n, p in model.named_parameters() if torch.equal(p, before[n])] == []


def test_mixed_precision_with_padded_windows():
    # padding is zeros, whose cosine is 0 / 0; at 48 px every map but the first is padded
    backbone = swin()
    backbone.train()
    images, mask = torch.randn(2, 3, 48, 48), torch.rand(2, 12, 12) < 0.6
    with torch.no_grad():
        full = backbone(images, mask)
    with torch.autocast('cpu', torch.bfloat16):
        half = backbone(images, mask)
    sum(f.float().square().mean() for f in half).backward()
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())
    for a, b in zip(full, half):
        assert (a - b.float()).abs().mean() < 0.05 * a.abs().mean()


def save(model, path):
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return str(path)


def segmentor(**backbone):
    init_default_scope('mmseg')
    common = dict(num_classes=3, channels=8, norm_cfg=dict(type='BN'), align_corners=False,
                  loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True))
    return MODELS.build(Config(dict(
        type='EncoderDecoder',
        backbone=dict(type='egmim_mm.MaskedSwinTransformerV2', arch=ARCH, img_size=64, window_size=4,
                      use_mask_token=False, **backbone),
        decode_head=dict(type='UPerHead', in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3], **common)))._cfg_dict)


def test_pretraining_to_upernet(build, tmp_path):
    source = build('egmim_swinv2-tiny')
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    target = segmentor()
    report = load_backbone(target.backbone, save(source, tmp_path / 'last.pth'))
    # as for V1: pretraining has no norm on stage 3, segmentation no mask token
    assert report.missing == ['norm2.weight', 'norm2.bias'] and report.unused == ['mask_token']
    assert report.resized == report.mismatched == [] and report.share > 0.99
    images = torch.randn(2, 3, 80, 96)
    source.eval(), target.eval()
    with torch.no_grad():
        shallow, middle, _, deep = target.backbone(images)
        for ours, theirs in zip(source.backbone(images), (shallow, middle, deep), strict=True):
            assert torch.equal(ours, theirs)
    target.train()
    samples = []
    for _ in images:
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 80, 96)))))
    losses = target.loss(images, samples)
    losses['decode.loss_ce'].backward()
    assert torch.isfinite(losses['decode.loss_ce']) and target.backbone.norm2.weight.grad.any()


def test_checkpoint_of_mmpretrain(tmp_path):
    torch.manual_seed(1)
    stock = SwinTransformerV2(FULL_ARCH, img_size=64, window_size=4)
    target = swin(2)
    report = load_backbone(target, save(stock, tmp_path / 'stock.pth'))
    assert report.missing == ['mask_token'] + [f'norm{i}.{n}' for i in range(3) for n in ('weight', 'bias')]
    assert report.unused == report.mismatched == []  # buffers that follow from the window are not even mentioned
    assert all(torch.equal(p, stock.get_parameter(n)) for n, p in target.named_parameters() if n not in report.missing)


@pytest.mark.parametrize('pretrained', [False, True])
def test_another_window(tmp_path, pretrained):
    source = swin(1)
    options = dict(pretrained_window_sizes=[4] * 4) if pretrained else {}
    target = swin(2, window_size=8, **options)
    report = load_backbone(target, save(source, tmp_path / 'last.pth'))
    assert report.share == 1 and report.missing == report.unused == report.resized == []
    old, new = (b.stages[0].blocks[0].attn.w_msa.relative_coords_table for b in (source, target))
    assert old.shape == (1, 7, 7, 2) and new.shape == (1, 15, 15, 2)
    if pretrained:  # an offset of n tokens is what it was
        assert torch.allclose(new[:, 4:11, 4:11], old)
    else:  # the farthest offset is what it was
        assert torch.allclose(new[:, ::14, ::14], old[:, ::6, ::6]) and not torch.allclose(new[:, 4:11, 4:11], old)


def test_v1_and_v2_do_not_pass_for_each_other(tmp_path):
    v1, v2 = swin(kind=MaskedSwinTransformer), swin()
    for source, target in ((v1, v2), (v2, v1)):
        with pytest.raises(CheckpointError, match='Less than 99 % fits'):
            load_backbone(target, save(source, tmp_path / 'other.pth'))


def test_errors():
    with pytest.raises(ValueError, match='absolute position'):
        MaskedSwinTransformerV2(ARCH, use_abs_pos_embed=True)
    with pytest.raises(ValueError, match='out_indices must name stages'):
        MaskedSwinTransformerV2(ARCH, out_indices=())
