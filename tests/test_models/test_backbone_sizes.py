"""Another backbone is one line: heads take their channels from it, in every phase and on every benchmark."""
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from egmim_mm.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BENCHMARKS = ('vaihingen', 'potsdam', 'loveda', 'isaid')
VARIANTS = [f'{phase}_{name}_swin-{size}' for phase in ('egmim_dapt', 'simmim_dapt', 'upernet') for name in BENCHMARKS
            for size in ('small', 'base')] + [f'simmim_gppt_swin-{size}' for size in ('tiny', 'small', 'base')]
WIDTHS = dict(tiny=[96, 192, 384, 768], small=[96, 192, 384, 768], base=[128, 256, 512, 1024])


@pytest.fixture
def on_meta(monkeypatch):
    """Function: build a model without memory for its weights."""
    # MMPretrain reads the drop-path rates out of a tensor, which has no values on the meta device
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))

    def build(cfg):
        with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
            return MODELS.build(cfg.model)

    return build


@pytest.mark.parametrize('name', VARIANTS)
def test_variant_is_the_benchmark_with_another_backbone(on_meta, name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    size = name.rpartition('-')[2]
    model = on_meta(cfg)
    widths = WIDTHS[size]
    assert list(model.backbone.num_features) == widths
    assert [len(stage.blocks) for stage in model.backbone.stages] == [2, 2, 6 if size == 'tiny' else 18, 2]
    if name.startswith('upernet'):
        assert model.decode_head.in_channels == widths and model.auxiliary_head.in_channels == widths[2]
    else:
        assert model.terms['pixel'].head.in_channels == widths[3]
        assert ('structure' in model.terms) == name.startswith('egmim')
    if 'gppt' not in name:
        plain = Config.fromfile(CONFIGS / f'{name.rpartition("_")[0]}.py')
        plain.model.backbone.arch = size
        assert cfg.to_dict() == plain.to_dict()


def segmentor(**options):
    cfg = Config.fromfile(CONFIGS / 'upernet_vaihingen.py')
    cfg.model.backbone.arch = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4])
    cfg.merge_from_dict(dict(model=options))
    return cfg


def test_heads_read_the_stages_that_the_backbone_returns(on_meta):
    cfg = segmentor()
    cfg.model.backbone.out_indices = (1, 3)
    cfg.model.decode_head.in_index = [0, 1]
    cfg.model.auxiliary_head = [dict(cfg.model.auxiliary_head, in_index=i) for i in (0, 1)]
    model = on_meta(cfg)
    assert model.decode_head.in_channels == [16, 64]
    assert [head.in_channels for head in model.auxiliary_head] == [16, 64]


def test_channels_of_the_config_must_be_those_of_the_backbone(on_meta):
    cfg = segmentor(decode_head=dict(in_channels=[8, 16, 32, 64]), auxiliary_head=dict(in_channels=32))
    assert on_meta(cfg).decode_head.in_channels == [8, 16, 32, 64]
    cfg.model.auxiliary_head.in_channels = 384
    with pytest.raises(ValueError, match='model.auxiliary_head.in_channels is 384, the backbone returns 32: leave'):
        on_meta(cfg)


@MODELS.register_module()
class SilentBackbone(nn.Module):
    """It does not say how many channels it returns."""


def test_a_backbone_that_does_not_tell_needs_in_channels(on_meta):
    cfg = segmentor(backbone=dict(_delete_=True, type='egmim_mm.SilentBackbone'))
    with pytest.raises(ValueError, match='model.decode_head.in_channels is missing.*SilentBackbone says.*: give it'):
        on_meta(cfg)
    cfg.model.decode_head.in_channels, cfg.model.auxiliary_head.in_channels = [1, 2, 3, 4], 3
    assert on_meta(cfg).decode_head.in_channels == [1, 2, 3, 4]


def test_model_may_have_no_auxiliary_head(on_meta):
    assert not on_meta(segmentor(auxiliary_head=None)).with_auxiliary_head
