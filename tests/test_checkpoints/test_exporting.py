"""The way back: what we write is what timm, Hugging Face and OpenMMLab compute with; nothing in it to unpickle."""
import json

import pytest
import torch
from mmseg.models.backbones import SwinTransformer as SegmentationSwin
from safetensors import safe_open
from timm.models import load_checkpoint

from egmim_mm.checkpoints import CheckpointError, describe_source, load_backbone, read_checkpoint
from egmim_mm.checkpoints.exporting import convert_file, export_weights
from egmim_mm.checkpoints.layouts import convert

SMALL = dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])


def images(size):
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def source(foreign, tmp_path):
    """A checkpoint of this package, in a file, and its backbone."""
    backbone = foreign.ours(SMALL, 4, use_mask_token=True)
    lineage = [dict(experiment='gppt', config='gppt.py', iterations=5, seed=0, source=None)]
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in backbone.state_dict().items()}
                    | {'head.weight': torch.ones(3)}, meta=dict(lineage=lineage)), tmp_path / 'last.pth')
    return tmp_path / 'last.pth', backbone


@pytest.mark.parametrize('v2, suffix', [(False, 'pth'), (True, 'safetensors')])
@torch.no_grad()
def test_timm_computes_the_same(foreign, tmp_path, v2, suffix):
    backbone, theirs = foreign.ours(SMALL, 4, v2=v2), foreign.timm(SMALL, 4, 256, v2=v2, num_classes=0)
    torch.save(backbone.state_dict(), tmp_path / 'ours.pth')
    convert_file(str(tmp_path / 'ours.pth'), tmp_path / f'timm.{suffix}', 'timm')
    load_checkpoint(theirs, str(tmp_path / f'timm.{suffix}'))  # as create_model(checkpoint_path=...) does, strict
    x = images(256)
    outs = foreign.timm_stages(theirs, x)
    assert foreign.agree(backbone, (x, outs)) < 1e-4
    assert torch.allclose(theirs.norm(outs[3].permute(0, 2, 3, 1)), backbone(x)[3].permute(0, 2, 3, 1), atol=1e-4)


@pytest.mark.parametrize('v2', [False, True], ids=['v1', 'v2'])
def test_hugging_face_gets_its_published_names(foreign, v2):
    theirs = foreign.timm(SMALL, 4, 256, v2=v2).state_dict()
    published = foreign.hugging_face(theirs)
    expected = {k.removeprefix('swin.'): v for k, v in published.items() if not k.startswith('classifier')}
    exported = export_weights(convert(theirs).weights, 'hf')
    assert exported.keys() == expected.keys()
    assert all(torch.equal(exported[k], v) for k, v in expected.items())


@pytest.mark.parametrize('to', ['egmim', 'mmpretrain', 'hf', 'timm'])
def test_round_trip(foreign, source, tmp_path, to):
    path, backbone = source
    target = tmp_path / f'out.{"pth" if to == "mmpretrain" else "safetensors"}'
    convert_file(str(path), target, to)
    again = foreign.ours(SMALL, 4, seed=5, use_mask_token=True)
    report = load_backbone(again, str(target))
    lost = {f'norm{i}' for i in range(3)} if to in ('hf', 'timm') else set()
    lost |= {'mask_token'} if to == 'timm' else set()
    assert {k.partition('.')[0] for k in report.missing} == lost
    for name, parameter in backbone.named_parameters():
        if name.partition('.')[0] not in lost:
            assert torch.equal(again.get_parameter(name), parameter), name


@torch.no_grad()
def test_mmsegmentation_loads_it_with_its_own_means(source, tmp_path):
    path, backbone = source
    convert_file(str(path), tmp_path / 'mmseg.pth', 'mmseg')
    theirs = SegmentationSwin(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], window_size=4,
                              init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'mmseg.pth')))
    theirs.init_weights()
    theirs.eval()
    x = images(256)
    for ours, other in zip(backbone(x), theirs(x), strict=True):
        assert torch.allclose(ours, other, atol=1e-4)
    assert not any('mask_token' in k for k in read_checkpoint(tmp_path / 'mmseg.pth')['state_dict'])


def test_lineage_is_in_the_file(source, tmp_path):
    path, _ = source
    digest = describe_source(str(path))['sha256']
    convert_file(str(path), tmp_path / 'a.safetensors')
    convert_file(str(path), tmp_path / 'a.pth')
    with safe_open(tmp_path / 'a.safetensors', 'pt') as file:
        metadata = file.metadata()
    assert metadata['source_sha256'] == digest and metadata['source_format'] == "OpenMMLab, under 'backbone'"
    assert metadata['format'] == 'pt' and metadata['layout'] == 'egmim'
    steps = json.loads(metadata['lineage'])
    assert [s['experiment'] for s in steps] == ['gppt', 'convert_checkpoint'] and steps[1]['source'] == digest
    for name in ('a.safetensors', 'a.pth'):
        assert describe_source(str(tmp_path / name))['lineage'] == steps
    assert torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / 'a.pth') == []


@pytest.mark.parametrize('to', ['timm', 'hf'])
def test_bare_weights_carry_the_lineage_too(foreign, source, tmp_path, to):
    path, _ = source
    convert_file(str(path), tmp_path / 'bare.pth', to)
    steps = describe_source(str(tmp_path / 'bare.pth'))['lineage']
    assert [s['experiment'] for s in steps] == ['gppt', 'convert_checkpoint']
    convert_file(str(tmp_path / 'bare.pth'), tmp_path / 'back.safetensors')
    again = describe_source(str(tmp_path / 'back.safetensors'))['lineage']
    assert again[:2] == steps and again[2]['source'] == describe_source(str(tmp_path / 'bare.pth'))['sha256']
    bare = torch.load(tmp_path / 'bare.pth', weights_only=True)  # as those libraries read it
    assert all(isinstance(weight, torch.Tensor) for weight in bare.values())


def test_refused(foreign, source, tmp_path):
    path = str(source[0])
    with pytest.raises(CheckpointError, match='must end in .safetensors or .pth'):
        convert_file(path, tmp_path / 'a.bin')
    with pytest.raises(CheckpointError, match='OpenMMLab reads no .safetensors'):
        convert_file(path, tmp_path / 'a.safetensors', 'mmseg')
    with pytest.raises(CheckpointError, match='last.pth exists: choose another name'):
        convert_file(path, source[0])
    v2 = foreign.ours(SMALL, 4, v2=True).state_dict()
    torch.save(v2, tmp_path / 'v2.pth')
    with pytest.raises(CheckpointError, match='no Swin V2: use --to mmpretrain'):
        convert_file(str(tmp_path / 'v2.pth'), tmp_path / 'b.pth', 'mmseg')
    v2['norm3.bias'][0] = float('nan')
    torch.save(v2, tmp_path / 'nan.pth')
    with pytest.raises(CheckpointError, match='nan.pth: norm3.bias holds NaN'):
        convert_file(str(tmp_path / 'nan.pth'), tmp_path / 'c.pth')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['last.pth', 'nan.pth', 'v2.pth']
