"""EGMIM on the visible cells alone: whole maps for the terms, losses, weights, pictures, and what is refused."""
import pytest
import torch
from egmim_terms import ANCHOR, EVERYTHING, PIXEL, STRUCTURE
from torch.nn import functional as F

from egmim_mm.checkpoints import load_backbone
from egmim_mm.masking import sample_mask
from egmim_mm.models import MaskedSwinTransformer, VisibleDecoder
from egmim_mm.models.backbones.visible_map import cell_places, gather_cells, kept_cells
from egmim_mm.models.visible_decoder import cut_squares, gather_squares, spread

NAME = 'egmim_swin-tiny_visible'
IMAGES = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SMALL = {'backbone.arch.embed_dims': 16}  # what the decoder is half of must be a multiple of 16


@pytest.fixture
def visible(build):
    """Function: the shipped config at toy size, as ``build``."""
    return lambda **options: build(NAME, **SMALL | options)


def random_weights(model):
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    return model


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


@pytest.mark.parametrize('cell', [16, 32])
def test_cells_go_back_to_their_places(cell):
    mask = sample_mask(torch.rand(3, 1, 128, 192), policy='edge_uniform', cell_size=cell)
    kept = kept_cells(mask, cell // 4)
    assert len(kept.unique(dim=0)) == 3
    images = torch.randn(3, 5, 128, 192)
    compact = gather_cells(images, cell_places(kept), cell).permute(0, 2, 3, 1)
    whole = spread(compact, torch.arange(5.), kept).permute(0, 3, 1, 2)
    hidden = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    assert torch.equal(whole, torch.where(hidden, torch.arange(5.).view(5, 1, 1), images))


def test_squares():
    x = torch.arange(2. * 4 * 6 * 3).view(2, 4, 6, 3)
    squares = gather_squares(x, 2)
    assert squares.shape == (2, 2, 3, 12)
    assert torch.equal(squares[1, 0, 2], torch.cat([x[1, 0, 4], x[1, 0, 5], x[1, 1, 4], x[1, 1, 5]]))
    assert torch.equal(cut_squares(squares, 2), x) and torch.equal(gather_squares(x, 1), x)


@pytest.mark.parametrize('size', [(64, 64), (96, 128), (224, 224)])
@pytest.mark.parametrize('cell', [16, 32])
def test_maps_are_whole(size, cell):
    if any(side % (2 * cell) for side in size):
        return
    arch = dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
    backbone = MaskedSwinTransformer(arch, 64, 4, encode='visible', cell_size=cell)
    decoder = VisibleDecoder(backbone, (0, 1, 2, 3))
    mask = sample_mask(torch.rand(2, 1, *size), policy='edge_uniform', cell_size=cell)
    maps = decoder(dict(enumerate(backbone(torch.randn(2, 3, *size), mask))), mask, backbone.mask_token)
    assert {i: tuple(m.shape[1:]) for i, m in maps.items()} == {
        i: (16 * 2**i, size[0] // 2**(i + 2), size[1] // 2**(i + 2)) for i in range(4)}


def test_hidden_cells_learn_from_their_neighbours_and_from_the_mask_token(visible):
    """What stands in a hidden cell follows visible pixels nearby, not its own."""
    model = random_weights(visible()).eval()
    with torch.no_grad():
        batch = model.encode(IMAGES)
        hidden = batch.hidden.bool()
        for changed, moves in ((torch.where(hidden, 0.9, IMAGES), False), (torch.where(hidden, IMAGES, 0.9), True)):
            features = dict(zip(model.backbone.out_indices, model.backbone(changed, batch.mask)))
            maps = model.decoder(features, batch.mask, model.backbone.mask_token)
            for stage, whole in maps.items():
                difference = (whole - batch.features[stage]).abs()
                inside = F.adaptive_max_pool2d(hidden.float(), whole.shape[-2:]) * difference
                assert (inside.max() > 1e-3) == moves and (difference.max() > 1e-3) == moves
        other = model.decoder(batch.encoded, batch.mask, model.backbone.mask_token + 1)
        assert all((other[i] - batch.features[i]).abs().max() > 1e-3 for i in other)


def test_terms_read_whole_maps_and_the_anchor_those_of_the_backbone(visible, normalized):
    model = random_weights(visible(terms=EVERYTHING))
    inputs = normalized(IMAGES, model)
    batch = model.encode(inputs)
    assert {i: tuple(m.shape[-2:]) for i, m in batch.features.items()} == {0: (16, 16), 1: (8, 8), 3: (2, 2)}
    assert {i: tuple(m.shape[-2:]) for i, m in batch.encoded.items()} == {0: (8, 8), 1: (4, 4), 2: (2, 2), 3: (1, 1)}
    losses = model.loss(inputs)
    assert {'loss_pixel', 'loss_edge', 'loss_hog', 'loss_grad', 'loss_anchor'} <= losses.keys()
    assert all(torch.isfinite(value) for value in losses.values())
    teacher, = model.terms['anchor'].teacher(inputs)
    expected = 1 - F.cosine_similarity(batch.encoded[2].mean((2, 3)), teacher.mean((2, 3)))
    assert losses['anchor'].item() == pytest.approx(expected.mean().item(), rel=1e-4)
    pixels = batch.hidden * (1 + batch.edge)
    error = (model.terms['pixel'].head(batch.features[3]) - inputs).abs()
    expected = ((error * pixels).sum((1, 2, 3)) / (3 * pixels.sum((1, 2, 3)))).mean()
    assert losses['loss_pixel'].item() == pytest.approx(expected.item(), rel=1e-4)


def test_bfloat16_is_near_float32(visible, normalized):
    model = visible().eval()
    inputs = normalized(IMAGES, model)
    with torch.no_grad():
        exact = total(model.loss(inputs))
        with torch.autocast('cpu', torch.bfloat16):
            rounded = total(model.loss(inputs))
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02) and rounded != exact


def test_it_learns_what_neighbours_tell(visible, normalized):
    """Images of one colour each: hidden cells have that of the visible ones."""
    model = visible(terms=[dict(PIXEL, gamma=0.0)])
    colours = torch.rand(8, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, 64, 64)
    inputs = normalized(colours, model)
    optimizer, losses = torch.optim.AdamW(model.parameters(), 2e-3), []
    for iteration in range(50):
        model.set_iteration(iteration, 50, 0)
        losses.append(model.loss(inputs)['loss_pixel'])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    one_colour = (inputs - inputs.mean(0)).abs().mean()  # the best a model could do that sees nothing
    assert losses[-1] < 0.6 * one_colour < losses[0]


@pytest.mark.parametrize('terms', [[PIXEL], [PIXEL, STRUCTURE, ANCHOR]], ids=len)
def test_weights_go_to_dense_encoding_and_back(visible, build, tmp_path, terms):
    model, file = random_weights(visible(terms=terms)), tmp_path / 'visible.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    dense = build('egmim_swin-tiny', seed=9, **SMALL, terms=terms)
    report = load_backbone(dense.backbone, str(file))
    assert len(report.missing) == 0
    for name, value in dense.backbone.state_dict().items():
        assert torch.equal(value, model.backbone.state_dict()[name]), name
    with torch.no_grad():
        for ours, theirs in zip(dense.backbone(IMAGES), model.backbone(IMAGES)):
            assert torch.equal(ours, theirs)
    # fine-tuning: all stages, no mask token
    segmentation = MaskedSwinTransformer(dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]), 64, 4,
                                         use_mask_token=False)
    load_backbone(segmentation, str(file))
    assert torch.equal(segmentation.stages[3].blocks[1].ffn.layers[1].weight,
                       model.backbone.stages[3].blocks[1].ffn.layers[1].weight)
    torch.save(dict(state_dict=random_weights(dense).state_dict()), file)
    other = visible(seed=5, terms=terms)
    load_backbone(other.backbone, str(file))
    for name, value in other.backbone.state_dict().items():
        assert torch.equal(value, dense.backbone.state_dict()[name]), name


def test_pictures(visible, normalized):
    model = visible()
    inputs = normalized(IMAGES, model)
    shown = model.reconstruct(inputs, seed=0)
    hidden = shown['mask'].bool()
    assert hidden.double().mean() == 0.75 and torch.isfinite(shown['reconstruction']).all()
    assert torch.allclose(shown['reconstruction'].where(~hidden, 0.0), IMAGES.where(~hidden, 0.0), atol=1e-5)


@pytest.mark.parametrize('options, message', [
    ({'mask_generator.policy': 'edge_stratified', 'mask_generator.ratio': 0.6},
     'needs masks that keep one cell of every 2 x 2 block: set model.mask_generator.policy to random_uniform or edge'),
    ({'mask_generator.cell_size': 32}, 'model.backbone.cell_size is 16 px, that of model.mask_generator 32 px: give'),
    ({'backbone.use_mask_token': False}, "model.backbone.encode='visible' needs use_mask_token=True"),
    ({'backbone.encode': 'dense', 'decoder.depth': 1}, "model.decoder is for model.backbone.encode='visible' alone"),
    ({'decoder.channels': 24}, 'model.decoder.channels = 24 must be a multiple of 16'),
    ({'decoder.channels': 0}, 'model.decoder.channels = 0 must be a multiple of 16'),
    ({'decoder.depth': 0}, 'model.decoder.depth = 0 must be 1 or more'),
])
def test_settings_that_do_not_fit(visible, options, message):
    with pytest.raises(ValueError, match=message):
        visible(**options)


def test_ratio_of_dense_masks_is_refused_at_the_first_batch(visible):
    model = visible(**{'mask_generator.ratio': 0.6})
    with pytest.raises(ValueError, match='its ratio is 0.75, not 0.6: set mask_generator.ratio=0.75'):
        model.loss(IMAGES)


def test_decoder_follows_its_settings(visible):
    model = visible(**{'decoder.channels': 48, 'decoder.depth': 1})
    for given, width, depth in ((model, 48, 1), (visible(), 32, 2)):
        for name, blocks in (('shallow', 1), ('deep', depth)):
            part = given.decoder.parts[name]
            assert part.norm.normalized_shape == (width, ) and len(part.blocks.blocks) == blocks
    assert list(visible(terms=[PIXEL]).decoder.parts) == ['deep']


def test_pixels_follow_from_the_last_stage_alone(visible):
    model = random_weights(visible())
    batch = model.encode(IMAGES)
    for stage in batch.encoded.values():
        stage.retain_grad()
    model.terms['pixel'].losses(model.terms['pixel'].predict(batch), batch)['pixel'].backward(retain_graph=True)
    # what reaches stages 1 and 2 comes through the deep stages of the backbone, whose norms are not on that way
    assert batch.encoded[3].grad.abs().max() > 0
    assert batch.encoded[0].grad is None and batch.encoded[1].grad is None
    batch.encoded[3].grad = None
    model.terms['structure'].losses(model.terms['structure'].predict(batch), batch)['edge'].backward()
    assert batch.encoded[3].grad is None and batch.encoded[0].grad.abs().max() > 0
