"""A backbone as a config describes it, with random weights, and the images as it expects them."""
import numpy as np
import pytest
from mmengine.config import Config

from egmim_mm.inference.frozen_backbone import build_backbone, crop_size, standardizer


@pytest.fixture
def cfg():
    return Config(dict(model=dict(backbone=dict(
        type='egmim_mm.MaskedSwinTransformer', img_size=64, window_size=4,
        arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
        init_cfg=dict(type='Pretrained', checkpoint='missing.pth')))))


def test_scratch_ignores_the_checkpoint_of_the_config_and_follows_the_seed(cfg):
    first, again, other = (build_backbone(cfg, 'scratch', seed).state_dict() for seed in (0, 0, 1))
    key = 'stages.0.blocks.0.attn.w_msa.qkv.weight'
    assert (first[key] == again[key]).all() and (first[key] != other[key]).any()


def test_crop_comes_from_the_backbone(cfg):
    assert crop_size(cfg) == 64
    del cfg.model.backbone['img_size']
    with pytest.raises(ValueError, match='give --crop'):
        crop_size(cfg)


def test_standardizer_equals_the_formula_and_swaps_channels():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    found = standardizer([1, 2, 3], [2, 4, 8], reverse_channels=True)(image)
    assert found.shape == (3, 2, 4)
    np.testing.assert_allclose(found[0], (image[..., 2] - 1.0) / 2)
    np.testing.assert_allclose(found[2], (image[..., 0] - 3.0) / 8)
