"""Heads of a pretraining run that come along with its backbone, and what the log says of each."""
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from egmim_mm.checkpoints import CarriedHeads


@pytest.fixture
def build(toy_config):
    """Function: a toy model with random weights of this seed."""

    def make(name='egmim_swin-pico', seed=0, **parts):
        init_default_scope('mmpretrain')
        cfg = toy_config(name)
        cfg.merge_from_dict({f'model.{key}': value for key, value in parts.items()})
        torch.manual_seed(seed)
        model = MODELS.build(cfg.model)
        model.init_weights()
        return model

    return make


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    lines = []
    monkeypatch.setattr('egmim_mm.checkpoints.heads.print_log', lambda text, logger: lines.append(text))
    return lines


def saved(model, path):
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=0, iter=1)), path)
    return str(path)


def test_pixel_head_comes_along_and_the_structure_head_starts_anew(build, said, tmp_path):
    gppt = build('simmim_swin-nano', seed=1)
    source = saved(gppt, tmp_path / 'gppt.pth')
    model = build(init_cfg=dict(type='egmim_mm.CarriedHeads', source=source))
    other = build()
    for name, value in model.state_dict().items():
        if name.startswith('terms.pixel.head.'):
            assert torch.equal(value, gppt.state_dict()[name]) and not torch.equal(value, other.state_dict()[name])
        else:
            assert torch.equal(value, other.state_dict()[name]), name
    assert said == [f'Head of the term pixel: carried over from {source}',
                    f'Head of the term structure: starts anew, {source} holds none']


def test_heads_that_do_not_fit_start_anew(build, said, tmp_path):
    wide = saved(build(**{'backbone.arch.embed_dims': 16}), tmp_path / 'wide.pth')
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    CarriedHeads(wide)(model)
    assert [line.split(wide)[1] for line in said] == [' holds one of another shape'] * 2
    spoiled = build()
    with torch.no_grad():
        spoiled.terms['pixel'].head.decoder[0].bias[0] = float('nan')
    CarriedHeads(saved(spoiled, tmp_path / 'nan.pth'))(model)
    assert 'holds one with NaN' in said[2]
    bare = tmp_path / 'bare.pth'
    torch.save(model.backbone.state_dict(), bare)
    CarriedHeads(str(bare))(model)
    assert said[-1] == f'Head of the term structure: starts anew, {bare} holds none'
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()
               if name.startswith('terms.pixel'))


def test_heads_without_their_decoder_start_anew(build, said, tmp_path):
    visible = {'backbone.encode': 'visible', 'mask_generator.policy': 'edge_uniform', 'mask_generator.ratio': 0.75}
    dense, encoded = saved(build(seed=1), tmp_path / 'dense.pth'), saved(build(seed=1, **visible), tmp_path / 'own.pth')
    model = build(**visible)
    before = model.terms['pixel'].head.decoder[0].weight.clone()
    CarriedHeads(dense)(model)
    assert said == [f'Heads: they start anew, and so does the decoder that they read: {dense} holds none']
    assert torch.equal(model.terms['pixel'].head.decoder[0].weight, before)
    CarriedHeads(encoded)(model)
    given = torch.load(encoded)['state_dict']
    assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items()
               if name.startswith(('decoder.', 'terms.')))
