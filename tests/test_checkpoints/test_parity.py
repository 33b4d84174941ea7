"""Weights of other libraries compute in our backbone what they compute at home: four stage outputs to 1e-4."""
import pytest
import torch

from egmim_mm.checkpoints import load_backbone
from egmim_mm.checkpoints.adapting import adapt_bands, resize_table

TINY = dict(embed_dims=24, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24])
BASE = dict(embed_dims=32, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32])
SMALL = dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])


def images(height, width=None, seed=3):
    return torch.randn(1, 3, height, width or height, generator=torch.Generator().manual_seed(seed))


def load(backbone, weights, path):
    torch.save(weights, path)
    return load_backbone(backbone, str(path))


def without_stage_norms(report):
    return report.missing == [f'norm{i}.{n}' for i in range(3) for n in ('weight', 'bias')]


# 448 px: even the 14 x 14 map of stage 4 holds several windows of 7, so that every second block shifts.
# always_partition: timm then shifts where the map equals the window, as MMSegmentation and we always do.
@pytest.mark.parametrize('arch, window, size, options', [
    (TINY, 7, 448, {}), (TINY, 7, 224, dict(always_partition=True)), (BASE, 12, 384, dict(always_partition=True))],
    ids=['tiny', 'tiny-224', 'base'])
@torch.no_grad()
def test_timm(foreign, tmp_path, arch, window, size, options):
    theirs = foreign.timm(arch, window, size, **options)
    backbone = foreign.ours(arch, window)
    report = load(backbone, theirs.state_dict(), tmp_path / 'timm.pth')
    assert report.format == 'timm' and without_stage_norms(report) and report.share > 0.99
    assert report.unused == ['head.fc.weight', 'head.fc.bias'] and not report.mismatched
    x = images(size)
    outs = foreign.timm_stages(theirs, x)
    assert foreign.agree(backbone, (x, outs)) < 1e-4
    features = theirs.norm(outs[3].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(backbone(x)[3], features, atol=1e-4)


def test_the_order_of_patch_merging_matters(foreign, tmp_path):
    """The comparison fails without the permutation: with weights that are symmetric it would say nothing."""
    theirs = foreign.timm(SMALL, 4, 256)
    weights = theirs.state_dict()
    for key in [k for k in weights if '.downsample.reduction' in k]:
        weights[key] = weights[key].flip(1)
    backbone = foreign.ours(SMALL, 4)
    load(backbone, weights, tmp_path / 'a.pth')
    x = images(256)
    with torch.no_grad():
        assert foreign.agree(backbone, (x, foreign.timm_stages(theirs, x))) > 0.1


@pytest.mark.parametrize('height, width', [(448, 448), (456, 472)])
@torch.no_grad()
def test_torchvision(foreign, tmp_path, height, width):
    theirs = foreign.torchvision(TINY, 7)
    backbone = foreign.ours(TINY, 7)
    report = load(backbone, theirs.state_dict(), tmp_path / 'swin_t.pth')
    assert report.format == 'torchvision' and without_stage_norms(report)
    assert report.unused == ['head.weight', 'head.bias'] and not report.mismatched
    x = images(height, width)
    assert foreign.agree(backbone, (x, foreign.torchvision_stages(theirs, x))) < 1e-4


def simmim(foreign, weights):
    return dict(model={f'encoder.{k}': v for k, v in foreign.microsoft(weights).items() if not k.startswith('head')}
                | {'encoder.mask_token': torch.full((1, 1, 16), 0.5), 'decoder.0.weight': torch.ones(3072, 128, 1, 1),
                   'decoder.0.bias': torch.ones(3072)}, epoch=800)


FORMATS = {
    'microsoft': (lambda f, w: dict(model=f.microsoft(w)), 'Microsoft'),
    'microsoft-segmentation': (lambda f, w: dict(state_dict={f'backbone.{k}': v for k, v in f.microsoft(w).items()}),
                               "Microsoft, under 'backbone'"),
    'simmim': (simmim, "Microsoft, under 'encoder'"),
    'hugging-face': (lambda f, w: f.hugging_face(w), "Hugging Face, under 'swin'"),
    'distributed': (lambda f, w: dict(state_dict={f'module.{k}': v for k, v in f.microsoft(w).items()}), 'Microsoft'),
    'average': (lambda f, w: dict(model_ema=f.microsoft(w), args=3), 'Microsoft'),
    'features': (lambda f, w: {k.replace('layers.', 'layers_'): v for k, v in w.items()}, 'timm'),
}


@pytest.mark.parametrize('name', FORMATS)
@torch.no_grad()
def test_published_namings(foreign, tmp_path, name):
    wrap, found = FORMATS[name]
    theirs = foreign.timm(SMALL, 7, 448)
    backbone = foreign.ours(SMALL, 7, use_mask_token=True)
    report = load(backbone, wrap(foreign, theirs.state_dict()), tmp_path / 'a.pth')
    assert report.format == found and not report.mismatched and report.share > 0.99
    x = images(448)
    assert foreign.agree(backbone, (x, foreign.timm_stages(theirs, x))) < 1e-4
    said = 'The mask token is not in the checkpoint: it starts from random values.' in str(report)
    if name == 'simmim':
        assert (backbone.mask_token == 0.5).all() and not said
        assert report.outside == ['decoder.0.weight', 'decoder.0.bias']
        assert '2 outside the backbone (not looked at): decoder' in str(report)
    else:
        assert said and 'mask_token' in report.missing and backbone.mask_token.any()


@pytest.mark.parametrize('library', ['timm', 'microsoft', 'hugging-face', 'torchvision'])
@torch.no_grad()
def test_swin_v2(foreign, tmp_path, library):
    x = images(256)
    if library == 'torchvision':
        theirs = foreign.torchvision(SMALL, 4, v2=True)
        weights, outs = theirs.state_dict(), foreign.torchvision_stages(theirs, x)
    else:
        theirs = foreign.timm(SMALL, 4, 256, v2=True)
        outs = foreign.timm_stages(theirs, x)
        rename = {'timm': dict, 'microsoft': foreign.microsoft, 'hugging-face': foreign.hugging_face}[library]
        weights = rename(theirs.state_dict())
    backbone = foreign.ours(SMALL, 4, v2=True)
    report = load(backbone, weights, tmp_path / 'a.pth')
    assert not report.mismatched and without_stage_norms(report)
    assert foreign.agree(backbone, (x, outs)) < 1e-4


@torch.no_grad()
def test_a_tensor_of_its_own_for_the_copy_of_a_backbone_is_not_taken(foreign, tmp_path):
    student, teacher = foreign.timm(SMALL, 4, 256), foreign.timm(SMALL, 4, 256)
    weights = {f'teacher.{k}': v + 1 for k, v in teacher.state_dict().items()}
    weights |= {f'student.{k}': v for k, v in student.state_dict().items()}
    backbone = foreign.ours(SMALL, 4)
    assert load(backbone, weights, tmp_path / 'a.pth').format == "timm, under 'student'"
    assert torch.equal(backbone.patch_embed.projection.weight, student.patch_embed.proj.weight)


@pytest.mark.filterwarnings('ignore:.*')  # timm's own
@pytest.mark.parametrize('old, new', [(7, 6), (6, 7), (7, 12), (12, 7)])
def test_tables_are_resized_as_timm_does(old, new):
    """The same as timm's plain bicubic resize; its default one spaces the grid otherwise and is close."""
    from timm.layers import resize_rel_pos_bias_table, resize_rel_pos_bias_table_simple
    side = torch.linspace(-1, 1, 2 * old - 1)
    table = torch.stack([torch.exp(-(side[:, None]**2 + side[None]**2)), side[:, None] + 0 * side[None]], -1)
    table = table.reshape(-1, 2)
    length = (2 * new - 1)**2
    mine = resize_table(table, length)
    assert torch.equal(mine, resize_rel_pos_bias_table_simple(table, (new, new), (length, 2)))
    theirs = resize_rel_pos_bias_table(table, (new, new), (length, 2))
    for head in range(2):
        assert torch.corrcoef(torch.stack([mine[:, head], theirs[:, head]]))[0, 1] > 0.97


@torch.no_grad()
def test_chain_of_windows_bands_and_sizes(foreign, tmp_path):
    """7 -> 6 -> 7 -> 12 with four bands: everything is loaded, tables are timm's, 512 px runs."""
    from timm.layers import resize_rel_pos_bias_table_simple as resize
    first = foreign.ours(SMALL, 7, seed=0, use_mask_token=True)
    source, previous = first, 7
    for window, bands in ((6, 3), (7, 3), (12, 4)):
        target = foreign.ours(SMALL, window, use_mask_token=True, in_channels=bands)
        report = load(target, source.state_dict(), tmp_path / f'{previous}.pth')
        assert report.share == 1 and len(report.resized) == 8 and report.missing == report.mismatched == []
        assert report.adapted == (['patch_embed.projection.weight'] if bands == 4 else [])
        if window == 7:
            for name in report.resized:
                before, after = first.get_parameter(name), target.get_parameter(name)
                heads = before.shape[1]
                expected = resize(resize(before, (6, 6), (121, heads)), (7, 7), (169, heads))
                assert torch.allclose(after, expected, atol=1e-6)
        source, previous = target, window
    gray = torch.randn(1, 1, 512, 512)  # the same in every band: the sum over bands decides alone
    three = foreign.ours(SMALL, 12, use_mask_token=True)
    load(three, first.state_dict(), tmp_path / 'three.pth')
    a, b = three.patch_embed(gray.repeat(1, 3, 1, 1))[0], source.patch_embed(gray.repeat(1, 4, 1, 1))[0]
    assert torch.allclose(a, b, atol=1e-4)
    outs = source(gray.repeat(1, 4, 1, 1))
    assert [o.shape[-1] for o in outs] == [128, 64, 32, 16] and all(torch.isfinite(o).all() for o in outs)


@pytest.mark.parametrize('bands', [1, 2, 3, 4, 13])
def test_bands_keep_their_sum(bands):
    weight = torch.randn(8, 3, 4, 4)
    adapted = adapt_bands(weight, bands)
    assert adapted.shape == (8, bands, 4, 4)
    assert torch.allclose(adapted.sum(1), weight.sum(1), atol=1e-5)
    if bands >= 3:
        assert torch.allclose(adapted[:, :3], weight * 3 / bands)
