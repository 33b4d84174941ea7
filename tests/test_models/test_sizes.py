"""EGMIM at other sizes, windows, bands and archs than the toy of the other tests, and parts that do not fit."""
from functools import partial

import pytest
import torch
from egmim_terms import GRADIENT, PIXEL, STRUCTURE
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from egmim_mm.masking import masked_token_count
from egmim_mm.models import BandDataPreprocessor
from egmim_mm.registry import MODELS


def total(losses):
    return sum(v for k, v in losses.items() if 'loss' in k)


@pytest.mark.parametrize('name', ['egmim_swin-base', 'egmim_swinv2-tiny'])
@pytest.mark.parametrize('size, window', [(192, 6), (224, 7), (256, 8), (384, 12)])
def test_image_sizes_with_their_windows(build, name, size, window):
    model = build(name, backbone=dict(img_size=size, window_size=window))
    inputs = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    hidden = []
    model.mask_generator.register_forward_hook(lambda module, args, out: hidden.append(out))
    losses = model.loss(inputs)
    total(losses).backward()
    assert hidden[0].shape == (1, size // 4, size // 4)
    assert hidden[0].sum().item() == masked_token_count(size, size, 0.6)
    assert all(torch.isfinite(v) and v > 0 for v in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.backbone(inputs)[-1].shape == (1, 64, size // 32, size // 32)


def bands(number, **options):
    return dict(
        backbone=dict(in_channels=number),
        data_preprocessor=dict(mean=[10.0 * (i + 1) for i in range(number)], std=[5.0 + i for i in range(number)],
                               bgr_to_rgb=False)) | options


@pytest.mark.parametrize('number', [1, 2, 4, 8])
def test_any_number_of_bands(build, number):
    model = build(terms=[PIXEL, STRUCTURE, GRADIENT], **bands(number))
    pixels = torch.randint(0, 256, (2, number, 64, 64), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=pixels, data_samples=[DataSample()] * 2))
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    assert mean.flatten().tolist() == [10.0 * (i + 1) for i in range(number)]
    assert torch.allclose(data['inputs'], (pixels.float() - mean) / std)
    assert torch.allclose(model.images(data['inputs']), pixels / 255, atol=1e-6)
    losses = model.loss(**data)
    mask = model.draw_mask(model.edge_prior(pixels / 255))
    hidden = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].float()
    prediction = model.terms['pixel'].head(model.backbone(data['inputs'], mask)[-1])
    assert prediction.shape == (2, number, 64, 64)
    weight = hidden * (1 + model.edge_prior(pixels / 255))
    error = ((prediction - data['inputs']).abs() * weight).sum((1, 2, 3)) / (number * weight.sum((1, 2, 3)))
    assert losses['loss_pixel'].item() == pytest.approx(error.mean().item(), rel=1e-4)
    total(losses).backward()
    # every band is seen and predicted
    assert model.backbone.patch_embed.projection.weight.grad.abs().sum((0, 2, 3)).min() > 0
    assert model.terms['pixel'].head.decoder[0].bias.grad.view(number, -1).abs().sum(1).min() > 0
    shown = model.reconstruct(data['inputs'], seed=0)
    assert shown['reconstruction'].shape == (2, number, 64, 64) and shown['mask'].shape == (2, 1, 64, 64)


def test_preprocessor_equals_mmpretrains(build):
    init_default_scope('mmpretrain')
    options = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
    stock = MODELS.build(dict(type='SelfSupDataPreprocessor', **options))
    data = dict(inputs=torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8), data_samples=[])
    assert torch.equal(BandDataPreprocessor(**options)(data)['inputs'], stock(data)['inputs'])
    assert torch.equal(BandDataPreprocessor()(data)['inputs'], data['inputs'] / 255)
    assert not BandDataPreprocessor(**options).state_dict()


@pytest.mark.parametrize('options, message', [
    (bands(4, backbone=dict(in_channels=3)), 'backbone.in_channels is 3, data_preprocessor.mean has 4 values'),
    (bands(4, data_preprocessor=dict()), r'backbone.in_channels is 4, data_preprocessor.mean has 3 values'),
    (bands(4, data_preprocessor=dict(mean=[0.0], std=[1.0])), 'bgr_to_rgb=True is for three bands'),
    (bands(4, data_preprocessor=dict(mean=[0.0] * 4, std=[1.0] * 4)), 'bgr_to_rgb=True is for three bands, mean has 4'),
    (bands(4, data_preprocessor=dict(mean=[0.0] * 4, std=[1.0] * 3)), 'mean and std need one value per band'),
    (dict(data_preprocessor=dict(std=[1.0, 0.0, 1.0])), 'std above 0'),
    (dict(data_preprocessor=dict(_delete_=True, type='SelfSupDataPreprocessor')), 'mean has 0 values'),
    (dict(backbone=dict(out_indices=(3, ))),
     r'out_indices is \(3,\), but the terms read the stages \(0, 1, 3\): leave it'),
    (dict(terms=[PIXEL, dict(GRADIENT, weight=-1.0)]),
     'GradientTerm: weight must be above 0, got -1.0; .* leave it out'),
    (dict(terms=[GRADIENT, PIXEL]), "GradientTerm reads the prediction of the term 'pixel': put that before it"),
    (dict(terms=[PIXEL, PIXEL]), "the term or loss 'pixel' twice"),
    (dict(terms=[STRUCTURE]), r"needs a PixelTerm.*write model.terms=\[dict\(type='egmim_mm.PixelTerm'"),
    (dict(terms=[]), 'model.terms needs a PixelTerm'),
    (dict(head=dict(in_channels=768)),
     r"model.head is no setting any more, .* write model.terms=\[dict\(type='egmim_mm.Pi"),
    (dict(structure_head=None), 'model.structure_head is no setting .*StructureTerm.*or leave it out there'),
    (dict(structure_weight=1.0), r"write dict\(type='egmim_mm.StructureTerm', weight=0.5\) in model.terms"),
    (dict(grad_weight=0.5), r"write dict\(type='egmim_mm.GradientTerm', weight=0.5\) in model.terms"),
    (dict(anchor=dict(weight=1.0)), r"write dict\(type='egmim_mm.AnchorTerm', weight=1.0\) in model.terms"),
    (dict(rescale_at=50), r'write model.balance=dict\(rescale_at=200\)'),
    (dict(nodata=dict(value=[0, 0])), r'V a number or one per band \(3\)'),
])
def test_parts_that_do_not_fit_are_refused_when_built(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


# millions of parameters; tiny to large: timm's counts of the same models less their classifier
@pytest.mark.parametrize('name, millions', [
    ('egmim_swin-pico', 2.28), ('egmim_swin-nano', 6.9), ('egmim_swin-tiny', 27.5), ('egmim_swin-small', 48.8),
    ('egmim_swin-base', 86.7), ('egmim_swin-large', 195.0), ('egmim_swinv2-tiny', 27.6),
    ('simmim_swin-tiny', 27.5), ('simmim_swin-base', 86.7), ('upernet_swin-nano', 6.9), ('upernet_swin-tiny', 27.5),
    ('upernet_swin-small', 48.8), ('upernet_swin-large', 195.0), ('upernet_swinv2-tiny', 27.6),
])
def test_configs_build_at_their_own_size(model_config, monkeypatch, name, millions):
    init_default_scope('mmseg' if 'upernet' in name else 'mmpretrain')
    cfg = model_config(name)
    # MMPretrain reads the drop-path rates out of a tensor, which has no values on the meta device
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    with torch.device('meta'):
        model = MODELS.build(cfg)
    size = sum(p.numel() for p in model.backbone.parameters()) / 1e6
    assert size == pytest.approx(millions, rel=0.01)
    assert type(model.backbone).__name__ == 'MaskedSwinTransformer' + ('V2' if 'v2' in name else '')
    assert (model.backbone.mask_token is None) == ('upernet' in name)
    if 'upernet' in name:
        channels = list(model.backbone.num_features)
        assert model.decode_head.in_channels == channels and model.auxiliary_head.in_channels == channels[2]
