"""Learning rates fall from the head to the patch embedding; everything else stays as MMEngine sets it."""
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
from torch import nn

from egmim_mm.engine.layer_decay import SwinLayerDecay, swin_layer
from egmim_mm.models import MaskedSwinTransformer, MaskedSwinTransformerV2
from egmim_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

DEPTHS = [2, 2, 6, 2]
ARCH = dict(embed_dims=8, depths=DEPTHS, num_heads=[1, 1, 1, 1])
FINETUNE = Config.fromfile(Path(__file__).parents[2] / 'configs/_base_/schedules/finetune.py').optim_wrapper
LR, DECAY = FINETUNE.optimizer.lr, 0.9


class Model(nn.Module):

    def __init__(self, kind=MaskedSwinTransformer):
        super().__init__()
        self.backbone = kind(arch=ARCH, img_size=32, window_size=2)
        self.decode_head = nn.Linear(64, 3)


def groups(constructor, model, **paramwise):
    settings = dict(FINETUNE, paramwise_cfg=None)
    del settings['paramwise_cfg'], settings['constructor']
    wrapper = constructor(settings, dict(FINETUNE.paramwise_cfg, **paramwise))(model)
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: g for g in wrapper.optimizer.param_groups for p in g['params']}


# as get_swin_layer of SimMIM's optimizer.py counts for depths [2, 2, 6, 2], whose last layer is 13
@pytest.mark.parametrize('name, layer', [
    ('backbone.patch_embed.projection.weight', 0), ('backbone.mask_token', 0),
    ('backbone.stages.0.blocks.0.norm1.weight', 1), ('backbone.stages.0.blocks.1.attn.w_msa.qkv.weight', 2),
    ('backbone.stages.0.downsample.reduction.weight', 2), ('backbone.stages.1.blocks.0.norm1.bias', 3),
    ('backbone.stages.2.blocks.5.ffn.layers.1.weight', 10), ('backbone.stages.2.downsample.norm.weight', 10),
    ('backbone.stages.3.blocks.1.norm2.weight', 12), ('backbone.norm0.weight', 13), ('backbone.norm3.bias', 13),
    ('decode_head.weight', 13), ('terms.anchor.teacher.patch_embed.projection.weight', 13),
    ('student.backbone.stages.1.blocks.0.norm1.bias', 3), ('teacher.backbone.stages.1.blocks.0.norm1.bias', 13)])
def test_layers(name, layer):
    assert swin_layer(name, DEPTHS) == layer


@pytest.mark.parametrize('kind', [MaskedSwinTransformer, MaskedSwinTransformerV2])
def test_rates(kind):
    model = Model(kind)
    decayed, usual = groups(SwinLayerDecay, model, decay_rate=DECAY), groups(DefaultOptimWrapperConstructor, model)
    assert decayed.keys() == usual.keys() == {n for n, _ in model.named_parameters()}
    for name, group in decayed.items():
        assert group['weight_decay'] == usual[name]['weight_decay'], name
    for name, power in {'backbone.patch_embed.projection.weight': 13, 'backbone.stages.0.blocks.0.norm1.weight': 12,
                        'backbone.stages.3.blocks.1.norm1.weight': 1, 'decode_head.weight': 0}.items():
        assert decayed[name]['lr'] == pytest.approx(LR * DECAY**power), name
    # between stages 1 and 2: in V2 it stands at the beginning of stage 2
    merging = f'backbone.stages.{int(kind is MaskedSwinTransformerV2)}.downsample.reduction.weight'
    assert decayed[merging]['lr'] == pytest.approx(LR * DECAY**11)


def test_a_config_names_it():
    wrapper = build_optim_wrapper(Model(), dict(
        type='OptimWrapper', constructor='egmim_mm.SwinLayerDecay', optimizer=dict(type='AdamW', lr=1.0),
        paramwise_cfg=dict(decay_rate=0.5)))
    rates = sorted({group['lr'] for group in wrapper.optimizer.param_groups})
    assert rates == [0.5**n for n in range(13, -1, -1)]


def test_multipliers_act_as_well():
    custom = dict(custom_keys={'backbone': dict(lr_mult=0.1), 'decode_head': dict(lr_mult=10.0)})
    found = groups(SwinLayerDecay, Model(), decay_rate=0.5, **custom)
    assert found['backbone.stages.3.blocks.1.norm1.weight']['lr'] == pytest.approx(LR * 0.1 * 0.5)
    assert found['decode_head.weight']['lr'] == pytest.approx(LR * 10)


def test_table(monkeypatch):
    said = []
    monkeypatch.setattr('egmim_mm.engine.layer_decay.print_log', lambda text, **_: said.append(text))
    model = Model()
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get('egmim_mm.SwinLayerDecay')
    constructor(dict(optimizer=dict(type='AdamW', lr=1e-3)), dict(decay_rate=0.5))(model)
    rows = [line.split() for line in said[0].splitlines()]
    assert ['0', 'patch', 'embedding', '1.22e-07'] == rows[3][:4]
    assert ['13', 'norms', 'of', 'the', 'stages,', 'heads', '0.001'] == rows[-1][:7]
    total = sum(int(row[-1].replace(',', '')) for row in rows[3:])
    assert total == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('rate', [None, 0, 1.5, '0.9'])
def test_bad_rates(rate):
    with pytest.raises(ValueError, match=f'decay_rate must be above 0 and at most 1, got {rate}'):
        SwinLayerDecay(dict(optimizer=dict(type='AdamW', lr=1.0)), dict(decay_rate=rate))


def test_another_backbone():
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='Module has no Swin as model.backbone'):
        SwinLayerDecay(dict(optimizer=dict(type='AdamW', lr=1.0)), dict(decay_rate=0.9))(model)
