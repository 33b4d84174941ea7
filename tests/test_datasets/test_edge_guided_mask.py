"""The transform draws the masks of the batched form, and stock SimMIM trains on them."""
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from egmim_mm.datasets import EdgeGuidedMask
from egmim_mm.edges import edge_prior
from egmim_mm.masking import POLICIES, masked_token_count, sample_mask
from egmim_mm.registry import TRANSFORMS

IMAGE = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)


@pytest.mark.parametrize('policy', POLICIES)
def test_equals_the_batched_form(policy):
    torch.manual_seed(4)
    ratio = 0.75 if policy.endswith('_uniform') else 0.5
    mask = EdgeGuidedMask(policy=policy, ratio=ratio)(dict(img=IMAGE))['mask']
    assert mask.dtype == np.int64 and mask.shape == (24, 32)
    rgb = torch.from_numpy(IMAGE[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    edge = edge_prior(rgb, 'gaussian_sobel', 0.5 / 255)
    expected = sample_mask(edge, ratio, policy, generator=torch.Generator().manual_seed(4))[0]
    assert np.array_equal(mask, expected.long().numpy())
    assert mask.sum() == masked_token_count(96, 128, ratio)


def test_no_data_is_not_hidden():
    valid = np.ones((96, 128), bool)
    valid[:, :64] = False
    mask = EdgeGuidedMask()(dict(img=IMAGE, valid=valid))['mask']
    assert mask[:, :16].sum() == 0 and mask.sum() == round(0.6 * 6) * 64


def test_any_number_of_bands():
    mask = EdgeGuidedMask()(dict(img=np.concatenate([IMAGE, IMAGE[..., :2]], axis=2)))['mask']
    assert mask.sum() == masked_token_count(96, 128, 0.6)


def test_stock_simmim_takes_the_mask():
    from mmpretrain.registry import MODELS
    init_default_scope('mmpretrain')
    pipeline = [TRANSFORMS.build(dict(type='egmim_mm.EdgeGuidedMask', policy='edge_topk')),
                TRANSFORMS.build(dict(type='PackInputs'))]
    packed = dict(img=IMAGE[:, :96], sample_idx=0)
    for step in pipeline:
        packed = step(packed)
    model = MODELS.build(dict(
        type='SimMIM',
        backbone=dict(type='SimMIMSwinTransformer', img_size=96, stage_cfgs=dict(block_cfgs=dict(window_size=3)),
                      arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])),
        neck=dict(type='SimMIMLinearDecoder', in_channels=64, encoder_stride=32),
        head=dict(type='SimMIMHead', patch_size=4,
                  loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3))))
    hidden = packed['data_samples'].mask
    assert hidden.sum() == round(0.6 * 9) * 64
    inputs = packed['inputs'][None].float().requires_grad_()
    loss = model.loss(inputs, [packed['data_samples']])['loss']
    # the mean error over hidden pixels of what the model itself reconstructs
    with torch.no_grad():
        error = (model.neck(model.backbone(inputs, hidden[None])[0]) - inputs).abs()
        pixels = hidden.repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert loss.item() == pytest.approx((error * pixels).sum().item() / (pixels.sum().item() * 3), rel=1e-4)
