"""Hugging Face transformers itself, both ways.

It is not among the development packages, because MMEngine imports it, slowly, wherever it is installed:
``pip install --target DIR transformers`` and ``EGMIM_TRANSFORMERS=DIR python -m pytest`` run this file. Its naming is
tested without it in test_parity.py and test_exporting.py.
"""
import os
import sys

import pytest
import torch

from egmim_mm.checkpoints import load_backbone
from egmim_mm.checkpoints.exporting import convert_file

SMALL = dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])


@pytest.fixture
def transformers(monkeypatch):
    folder = os.environ.get('EGMIM_TRANSFORMERS')
    if not folder:
        pytest.skip('EGMIM_TRANSFORMERS names no folder with transformers')
    monkeypatch.setattr(sys, 'path', [*sys.path, folder])
    import transformers
    return transformers


@pytest.mark.parametrize('name', ['Swin', 'Swinv2'])
@torch.no_grad()
def test_both_ways(foreign, transformers, tmp_path, name):
    config, model = getattr(transformers, f'{name}Config'), getattr(transformers, f'{name}Model')
    settings = config(image_size=256, patch_size=4, embed_dim=16, depths=SMALL['depths'],
                      num_heads=SMALL['num_heads'], window_size=4)
    theirs = model(settings, add_pooling_layer=False)
    for index, parameter in enumerate(theirs.parameters()):
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    theirs.eval().save_pretrained(tmp_path / 'theirs')
    torch.save(theirs.state_dict(), tmp_path / 'classes.pth')  # the names of its classes, not the published ones
    x = torch.randn(1, 3, 256, 256)
    expected = theirs(x).last_hidden_state
    for source in (tmp_path / 'theirs/model.safetensors', tmp_path / 'classes.pth'):
        backbone = foreign.ours(SMALL, 4, v2=name == 'Swinv2')
        assert load_backbone(backbone, str(source)).format == 'Hugging Face'
        assert torch.allclose(backbone(x)[3].flatten(2).transpose(1, 2), expected, atol=1e-4)

    settings.save_pretrained(tmp_path / 'back')
    convert_file(str(source), tmp_path / 'back/model.safetensors', 'hf')
    again, info = model.from_pretrained(tmp_path / 'back', add_pooling_layer=False, output_loading_info=True)
    assert not any(info.values())
    assert torch.allclose(again.eval()(x).last_hidden_state, expected, atol=1e-5)


@torch.no_grad()
def test_four_stages(foreign, transformers, tmp_path):
    settings = transformers.SwinConfig(
        image_size=256, patch_size=4, embed_dim=16, depths=SMALL['depths'], num_heads=SMALL['num_heads'], window_size=4,
        out_features=[f'stage{i}' for i in (1, 2, 3, 4)])
    theirs = transformers.SwinBackbone(settings)  # that of Swin V2 gives its maps without norms
    for index, parameter in enumerate(theirs.parameters()):
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    theirs.eval().save_pretrained(tmp_path)
    backbone = foreign.ours(SMALL, 4)
    load_backbone(backbone, str(tmp_path / 'model.safetensors'))
    x = torch.randn(1, 3, 256, 256)
    for ours, expected in zip(backbone(x), theirs(x).feature_maps, strict=True):
        assert torch.allclose(ours, expected, atol=1e-4)
