"""The command around egmim_mm.checkpoints.exporting."""
import os

import pytest
import torch

from egmim_mm.checkpoints import read_checkpoint
from egmim_mm.models import MaskedSwinTransformer


class Payload:

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker, )


@pytest.fixture
def source(tmp_path):
    backbone = MaskedSwinTransformer(arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2]), img_size=32,
                                     window_size=2)
    content = dict(state_dict={f'backbone.{k}': v for k, v in backbone.state_dict().items()})
    torch.save(content, tmp_path / 'last.pth')
    torch.save(dict(content, extra=Payload(tmp_path / 'marker')), tmp_path / 'evil.pth')
    return tmp_path


def test_convert(source, call, capsys):
    call('convert_checkpoint', source, source / 'clean.safetensors')
    said = capsys.readouterr().out
    assert ('A Swin with embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], in_channels=3, window_size=2.'
            in said)
    assert "clean.safetensors written for egmim, from OpenMMLab, under 'backbone', source SHA-256 " in said
    call('convert_checkpoint', source / 'clean.safetensors', source / 'timm.pth', '--to', 'timm')
    assert 'layers.1.downsample.reduction.weight' in read_checkpoint(source / 'timm.pth')


def test_trust(source, call):
    with pytest.raises(SystemExit, match=r'Error: .*evil.pth holds more than weights .*--trust-checkpoint'):
        call('convert_checkpoint', source / 'evil.pth', source / 'clean.pth')
    assert not (source / 'marker').exists() and not (source / 'clean.pth').exists()
    call('convert_checkpoint', source / 'evil.pth', source / 'clean.pth', '--trust-checkpoint')
    assert (source / 'marker').exists()
    assert torch.serialization.get_unsafe_globals_in_checkpoint(source / 'clean.pth') == []
