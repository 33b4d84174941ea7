"""MaskedSwinTransformer: mmsegmentation's Swin with hidden tokens. What V2 shares with it is tested for both."""
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.models.backbones import SwinTransformer as SegmentationSwin

from egmim_mm.models import EGMIM, MaskedSwinTransformer, MaskedSwinTransformerV2

ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])


def swin(seed=0, kind=MaskedSwinTransformer, **options):
    """Every parameter random, so that no zero bias or unit norm hides a difference."""
    torch.manual_seed(seed)
    backbone = kind(**{**dict(arch=ARCH, img_size=64, window_size=4), **options})
    for name, parameter in backbone.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if 'norm' in name and name.endswith('weight') else 0.0, 0.2)
    backbone.eval()  # returns None in this stack
    return backbone


both = pytest.mark.parametrize('kind', [MaskedSwinTransformer, MaskedSwinTransformerV2])


def maximum(difference):
    return difference.abs().max().item()


@pytest.mark.parametrize('height, width, window', [
    (64, 64, 4),  # shifted windows in stages 1 and 2; stage 3 is one window, stage 4 is smaller than one
    (80, 112, 4),  # maps that are no multiple of the window
    (64, 64, 2),
    (128, 128, 4),  # the last stage is exactly one window
    (64, 64, 7),
])
def test_equals_mmsegmentation(height, width, window):
    ours = swin(window_size=window)
    theirs = SegmentationSwin(pretrain_img_size=64, window_size=window, drop_path_rate=0.0, **ARCH)
    theirs.eval()
    weights = {k: v for k, v in ours.state_dict().items() if k != 'mask_token'}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected and all(k.endswith('relative_position_index') for k in missing)
    images = torch.randn(2, 3, height, width)
    with torch.no_grad():
        for stage, (a, b) in enumerate(zip(ours(images), theirs(images), strict=True)):
            assert a.shape == b.shape == (2, 8 * 2**stage, -(-height // 2**(stage + 2)), -(-width // 2**(stage + 2)))
            assert maximum(a - b) < 1e-5


@both
@pytest.mark.parametrize('hidden', [False, True])
def test_only_visible_pixels_matter(kind, hidden):
    backbone = swin(kind=kind)
    torch.manual_seed(1)
    images, mask = torch.randn(2, 3, 64, 64), torch.rand(2, 16, 16) < 0.5
    pixels = (mask if hidden else ~mask).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    changed = torch.where(pixels, torch.randn_like(images), images)
    with torch.no_grad():
        differences = [maximum(a - b) for a, b in zip(backbone(images, mask), backbone(changed, mask))]
    assert all(d == 0 for d in differences) if hidden else all(d > 0.1 for d in differences)


@both
def test_one_visible_token_reaches_its_own_place(kind):
    backbone = swin(kind=kind, out_indices=(0, ))
    images, mask = torch.randn(1, 3, 64, 64), torch.ones(1, 16, 16, dtype=torch.bool)
    mask[0, 5, 6] = False
    changed = images.clone()
    changed[..., 20:24, 24:28] += 1
    with torch.no_grad():
        difference = (backbone(images, mask)[0] - backbone(changed, mask)[0]).abs().sum(1)[0]
    assert difference.argmax().item() == 5 * 16 + 6


@both
def test_empty_mask_is_no_mask(kind):
    backbone = swin(kind=kind)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(backbone(images), backbone(images, torch.zeros(2, 16, 16, dtype=torch.bool))):
            assert torch.equal(a, b)


@both
def test_gradient_reaches_the_mask_token(kind):
    backbone = swin(kind=kind)
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, 3, 3] = True
    sum(f.square().mean() for f in backbone(torch.randn(1, 3, 64, 64), mask)).backward()
    assert backbone.mask_token.grad.abs().min() > 0


@both
def test_stages_are_read_before_patch_merging(kind):
    backbone = swin(kind=kind)
    read = {}
    for i, stage in enumerate(backbone.stages):
        stage.blocks[-1].register_forward_hook(lambda module, args, out, i=i: read.__setitem__(i, out))
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 64, 64), torch.rand(1, 16, 16) < 0.6)
        for i, feature in enumerate(features):
            expected = getattr(backbone, f'norm{i}')(read[i]).transpose(1, 2).reshape(feature.shape)
            assert torch.equal(feature, expected)


@both
@pytest.mark.parametrize('out_indices', [(3, ), (0, 1, 3), (3, 1, 0), (2, )])
def test_out_indices_choose_stages_in_order(kind, out_indices):
    everything, some = swin(kind=kind), swin(kind=kind, out_indices=out_indices)
    some.load_state_dict({k: v for k, v in everything.state_dict().items() if k in some.state_dict()})
    images, mask = torch.randn(1, 3, 64, 64), torch.rand(1, 16, 16) < 0.6
    with torch.no_grad():
        expected, features = everything(images, mask), some(images, mask)
    assert some.out_indices == tuple(sorted(out_indices))
    assert all(torch.equal(f, expected[i]) for i, f in zip(some.out_indices, features, strict=True))
    assert [hasattr(some, f'norm{i}') for i in range(4)] == [i in out_indices for i in range(4)]


@both
def test_errors(kind):
    images = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r'mask is \(8, 8\) tokens, the image has \(16, 16\)'):
        swin(kind=kind)(images, torch.zeros(1, 8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match='use_mask_token=False'):
        swin(kind=kind, use_mask_token=False)(images, torch.zeros(1, 16, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match='absolute position'):
        kind(ARCH, use_abs_pos_embed=True)


def test_initial_values():
    torch.manual_seed(0)
    backbone = MaskedSwinTransformer(ARCH, img_size=64, window_size=4)
    assert not backbone.mask_token.any()
    backbone.init_weights()
    assert 0.005 < backbone.mask_token.std() < 0.05
    qkv = backbone.stages[3].blocks[0].attn.w_msa.qkv
    assert abs(qkv.weight.std().item() - 0.02) < 0.001 and not qkv.bias.any()
    assert not any(m.drop_prob for m in backbone.modules() if type(m).__name__ == 'DropPath')


@both
@pytest.mark.parametrize('token', ['zero', 'missing', 'trained'])
def test_mask_token_after_loading_a_checkpoint(tmp_path, kind, token):
    weights = swin(seed=5, kind=kind).state_dict()
    if token == 'zero':
        weights['mask_token'].zero_()
    elif token == 'missing':
        del weights['mask_token']
    torch.save(weights, tmp_path / 'supervised.pth')
    for init_cfg in (dict(type='egmim_mm.BridgedCheckpoint', source=str(tmp_path / 'supervised.pth')),
                     dict(type='Pretrained', checkpoint=str(tmp_path / 'supervised.pth'))):
        torch.manual_seed(0)
        backbone = kind(ARCH, img_size=64, window_size=4, init_cfg=init_cfg)
        backbone.init_weights()
        for name, parameter in backbone.named_parameters():
            if name != 'mask_token' or token == 'trained':
                assert torch.equal(parameter, weights[name]), name
        if token != 'trained':
            assert 0.005 < backbone.mask_token.std() < 0.05
            assert backbone.mask_token.unique().numel() == 8  # not constant either


@both
def test_new_mask_token_learns(tmp_path, kind):
    """Pretraining from a supervised checkpoint, one step."""
    init_default_scope('mmpretrain')
    weights = {k: v for k, v in swin(seed=5, kind=kind).state_dict().items() if k != 'mask_token'}
    torch.save(weights, tmp_path / 'supervised.pth')
    model = EGMIM(
        backbone=dict(type=f'egmim_mm.{kind.__name__}', arch=ARCH, img_size=64, window_size=4,
                      init_cfg=dict(type='egmim_mm.BridgedCheckpoint', source=str(tmp_path / 'supervised.pth'))),
        terms=[dict(type='egmim_mm.PixelTerm')])
    model.init_weights()
    model.set_iteration(0, 10, 0)
    token = model.backbone.mask_token
    before = token.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    model.loss(torch.rand(2, 3, 64, 64))['loss_pixel'].backward()
    assert token.grad.abs().min() > 0
    optimizer.step()
    change = (token - before).abs()
    assert 0.5e-3 < change.min() and change.max() < 1.5e-3  # Adam's first step is the learning rate
