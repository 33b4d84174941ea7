"""No-data: found by value and by packed masks, never hidden, and harmless when nothing else is there."""
import numpy as np
import pytest
import torch
from egmim_terms import EVERYTHING
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.structures import DataSample

from egmim_mm.models.valid_pixels import holds_data, nodata_tensor, packed_valid

IMAGES = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05


def sample(valid=None):
    result = DataSample()
    if valid is not None:
        result.set_field(valid, 'valid')
    return result


def total(losses):
    return sum(v for k, v in losses.items() if 'loss' in k)


def test_value_counts_where_every_band_has_it():
    pixels = torch.full((1, 3, 2, 2), 7.0)
    pixels[0, :, 0, 0] = 0
    pixels[0, 0, 0, 1] = 0  # one dark band is data
    pixels[0, :, 1, 0] = torch.tensor([1.0, 0, 0])
    assert holds_data(pixels, nodata_tensor(dict(value=0), 3))[0, 0].tolist() == [[False, True], [True, True]]
    pixels[0, :, 1, 1] = torch.tensor([255.0, 0, 9])
    assert holds_data(pixels, nodata_tensor(dict(value=[255, 0, 9]), 3))[0, 0].tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize('nodata', [dict(), dict(value=None), dict(value=[0, 0]), dict(value=float('nan')),
                                    dict(value='0'), dict(values=0), dict(value=0, band=1)])
def test_other_settings_are_refused(nodata):
    with pytest.raises(ValueError, match=r'nodata must be dict\(value=V\), V a number or one per band \(3\)'):
        nodata_tensor(nodata, 3)


@pytest.mark.parametrize('dtype', [np.bool_, np.uint8])
def test_masks_packed_by_the_pipeline_arrive(dtype):
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    pack = PackInputs(algorithm_keys=['valid'])
    packed = pack(dict(img=np.zeros((64, 64, 3), np.uint8), valid=mask.astype(dtype)))['data_samples']
    valid = packed_valid([packed, sample(), sample(torch.from_numpy(mask))], torch.zeros(3, 3, 64, 64))
    assert valid.dtype == torch.bool and valid.shape == (3, 1, 64, 64)
    assert torch.equal(valid[0, 0], torch.from_numpy(mask)) and valid[1].all() and torch.equal(valid[2], valid[0])


def test_without_masks_there_is_none():
    for samples in (None, [], [sample(), sample()]):
        assert packed_valid(samples, IMAGES) is None


def test_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r'valid is \(32, 64\), its image \(64, 64\)'):
        packed_valid([sample(np.ones((32, 64), bool))], IMAGES[:1])


def test_model_sees_raw_pixels_in_its_own_band_order(build):
    model = build(nodata=dict(value=[10, 20, 30]))
    pixels = torch.randint(40, 256, (2, 3, 64, 64), dtype=torch.uint8)  # BGR, as the loader reads them
    pixels[0, :, :32] = torch.tensor([30, 20, 10], dtype=torch.uint8).view(3, 1, 1)
    pixels[1, :, :32] = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)
    packed = np.ones((64, 64), bool)
    packed[:, :16] = False
    data = model.data_preprocessor(dict(inputs=pixels, data_samples=[sample(packed), sample()]))
    valid = model.valid(**data)
    expected = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    expected[0, :, :32] = False
    expected[0, :, :, :16] = False
    assert torch.equal(valid, expected)
    assert build().valid(data['inputs']) is None


def test_no_data_is_never_hidden_and_guides_nothing(build, normalized):
    model = build(nodata=dict(value=0))
    images = IMAGES.clone()
    images[:, :, :, 40:] = 0
    inputs = normalized(images, model)
    shown = model.reconstruct(inputs, seed=3)
    assert not shown['mask'][..., 32:].any()  # a cell with any no-data stays
    assert shown['mask'].flatten(1).sum(1).tolist() == [32 * 32.0] * 4  # one of the two whole cells
    assert not shown['edge'][..., 40:].any()
    assert build().reconstruct(inputs, seed=3)['edge'][..., 40].max() > 0.3


@pytest.mark.parametrize('given', ['value', 'mask'])
def test_batch_without_data_has_zero_loss_and_finite_gradients(build, normalized, given):
    model = build(terms=EVERYTHING, nodata=dict(value=0) if given == 'value' else None)
    black = normalized(torch.zeros(2, 3, 64, 64), model)
    samples = [sample(np.zeros((64, 64), bool))] * 2 if given == 'mask' else None
    model.set_iteration(500, 1000, 0)
    losses = model.loss(black, samples)
    total(losses).backward()
    assert {k: v.item() for k, v in losses.items()} == dict.fromkeys(losses, 0.0)
    assert len(losses) == 9
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    # it says nothing about the balance of the terms either
    assert not model.balance.scale.any()
    model.loss(normalized(IMAGES, model))
    assert model.balance.scale.all()


def test_sample_without_data_counts_as_zero(build, normalized):
    model = build(terms=EVERYTHING, nodata=dict(value=0))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    images = IMAGES[:2].clone()
    images[1] = 0
    inputs = normalized(images, model)
    mask = model.draw_mask(model.edge_prior(images), model.valid(inputs))
    assert mask[0].any() and not mask[1].any()
    model.draw_mask = lambda edge, valid, seed: mask[:len(edge)]
    both, first = model.loss(inputs), model.loss(inputs[:1])
    for name in ('pixel', 'edge', 'hog', 'grad', 'anchor'):
        name = f'loss_{name}'
        assert both[name].item() == pytest.approx(first[name].item() / 2, rel=1e-4), name
        assert first[name] > 0
