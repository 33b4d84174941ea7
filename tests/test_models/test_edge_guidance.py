"""The registered forms of the edge prior and of the mask policies pass their settings on."""
import pytest
import torch

from egmim_mm.edges import edge_prior
from egmim_mm.masking import sample_mask
from egmim_mm.registry import MODELS

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_prior_is_the_function_with_its_options():
    prior = MODELS.build(dict(type='egmim_mm.EdgePrior', operator='gaussian_sobel', sigma=1.0, floor=0.01))
    assert torch.equal(prior(IMAGES), edge_prior(IMAGES, floor=0.01, sigma=1.0))
    assert not torch.allclose(prior(IMAGES), edge_prior(IMAGES, floor=0.01, sigma=2.0), atol=0.1)


def test_prior_leaves_pixels_without_data_out():
    prior = MODELS.build(dict(type='egmim_mm.EdgePrior', operator='structure_tensor', rho=2.0))
    valid = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    valid[0, 0, :20] = valid[1] = False
    expected = edge_prior(IMAGES, 'structure_tensor', 0.5 / 255, valid, rho=2.0)
    assert torch.equal(prior(IMAGES, valid), expected)
    assert expected[0].max() == 1 and expected[0, 0, :20].max() == 0 and expected[1].max() == 0


def test_prior_takes_integer_images():
    prior = MODELS.build(dict(type='egmim_mm.EdgePrior'))
    eight_bit = (IMAGES * 255).to(torch.uint8)
    assert torch.equal(prior(eight_bit), prior(eight_bit.float() / 255))


def test_default_floor_is_half_an_eight_bit_step():
    prior = MODELS.build(dict(type='egmim_mm.EdgePrior', operator='sobel'))
    step = torch.full((1, 3, 64, 64), 0.5)
    step[..., 32:] += 0.2 / 255
    assert prior(step).max().item() == pytest.approx(0.5 * 0.2 / 0.5, rel=1e-2)  # Sobel sees half a step per px


def test_prior_is_in_full_precision_under_autocast():
    prior = MODELS.build(dict(type='egmim_mm.EdgePrior'))
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(prior(IMAGES), edge_prior(IMAGES, floor=0.5 / 255))


def test_generator_is_the_function_with_its_options():
    edge = edge_prior(IMAGES)
    masks = MODELS.build(dict(type='egmim_mm.EdgeGuidedMaskGenerator', ratio=0.5, fine_cell_size=8, beta=0.5))
    seeded = [torch.Generator().manual_seed(3) for _ in range(2)]
    expected = sample_mask(edge, 0.5, fine_cell_size=8, beta=0.5, progress=0.7, generator=seeded[0], shard=(1, 2))
    assert torch.equal(masks(edge, 0.7, seeded[1], (1, 2)), expected)


@pytest.mark.parametrize('cfg, message', [
    (dict(type='egmim_mm.EdgePrior', operator='prewitt'), "unknown edge operator 'prewitt'"),
    (dict(type='egmim_mm.EdgePrior', operator='sobel', sigma=2.0), "'sobel' has no option 'sigma'"),
    (dict(type='egmim_mm.EdgePrior', sigma=-1.0), 'sigma = -1.0 must be a number, 0 or more'),
    (dict(type='egmim_mm.EdgePrior', floor=-0.1), 'floor = -0.1'),
    (dict(type='egmim_mm.EdgeGuidedMaskGenerator', policy='edges'), "unknown mask policy 'edges'"),
])
def test_unknown_choices_are_refused_when_the_model_is_built(cfg, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)


def test_weights_from_before_there_was_a_measured_floor():
    prior = MODELS.build(dict(type='egmim_mm.EdgePrior', floor='auto'))
    prior.set_floor(0.02)
    saved = prior.state_dict()
    fresh = MODELS.build(dict(type='egmim_mm.EdgePrior', floor='auto'))
    fresh.load_state_dict(saved)
    assert fresh.floor == pytest.approx(0.02)
    fresh.load_state_dict({})
    assert fresh.floor == 0.5 / 255
