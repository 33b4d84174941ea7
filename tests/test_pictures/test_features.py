"""Features as colours: the components, how those of two backbones are made comparable, and the columns of a sheet."""
import numpy as np
import pytest
import torch
from scipy.stats import ortho_group
from torch import nn
from torch.nn import functional as F

from egmim_mm.datasets.plain_tiles import Tile
from egmim_mm.pictures import features
from egmim_mm.pictures.features import aligned, as_colors, feature_rows, principal_components, stage_maps
from egmim_mm.pictures.pretraining import build_model, edge_panels

IDENTITY, ROTATION = np.eye(6), ortho_group.rvs(6, random_state=3)


class Pooled(nn.Module):
    """Colours and their squares, averaged over 4 and 8 px, under a linear map: stages 1 and 3."""

    out_indices = (0, 2)

    def __init__(self, turn=IDENTITY):
        super().__init__()
        self.turn = torch.tensor(turn, dtype=torch.float32)

    def forward(self, x):
        return tuple(torch.einsum('nchw,cd->ndhw', F.avg_pool2d(torch.cat([x, x ** 2], 1), side), self.turn)
                     for side in (4, 8))


def make_tile(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Tile('a', image.repeat(8, 0).repeat(8, 1))


TILES = [make_tile(64, 96, 0), make_tile(64, 64, 1)]


def three_regions():
    """Places of three kinds, 12 channels with a little noise, and the number of their kind."""
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], [300, 200, 100])
    return (rng.normal(0, 3, (3, 12))[kinds] + rng.normal(0, 0.1, (600, 12)) + 5).astype(np.float32), kinds


def test_components_are_those_of_the_singular_values():
    places, _ = three_regions()
    scores, share = principal_components(places)
    left, values, _ = np.linalg.svd((places - places.mean(0)).astype(np.float64), full_matrices=False)
    assert share == pytest.approx(np.square(values[:3]).sum() / np.square(values).sum(), rel=1e-6)
    np.testing.assert_allclose(np.abs(scores), np.abs(left[:, :3]) * np.sqrt(600), atol=1e-3)
    np.testing.assert_allclose(scores.T @ scores / 600, np.eye(3), atol=1e-6)


def test_colours_tell_three_regions_apart():
    places, kinds = three_regions()
    colors = as_colors(principal_components(places)[0])[:, :2].astype(int)  # the third component is noise
    means = np.array([colors[kinds == kind].mean(0) for kind in range(3)])
    nearest = np.abs(colors[:, None] - means).sum(2).argmin(1)
    assert (nearest == kinds).all()
    assert min(np.abs(means[one] - means[other]).max() for one, other in ((0, 1), (0, 2), (1, 2))) > 150


def test_colours_reach_from_the_first_to_the_last_percent():
    ramp = np.arange(101.0)
    colors = as_colors(np.stack([ramp, -ramp, np.full(101, 7.0)], 1))
    assert colors.dtype == np.uint8
    assert colors[[0, 1, 50, 99, 100], 0].tolist() == [0, 0, 128, 255, 255]
    assert colors[[0, 1, 50, 99, 100], 1].tolist() == [255, 255, 128, 0, 0]
    assert (colors[:, 2] == 128).all()


def test_order_sign_and_turn_of_the_components_do_not_matter():
    reference, _ = principal_components(three_regions()[0])
    for turned in (reference[:, [2, 0, 1]] * [1, -1, 1], reference @ ortho_group.rvs(3, random_state=1)):
        assert np.abs(turned - reference).max() > 1
        np.testing.assert_allclose(aligned(turned, reference), reference, atol=1e-9)


@pytest.mark.parametrize('rank', [0, 1, 2])
def test_features_of_fewer_directions_have_grey_components(rank):
    rng = np.random.default_rng(0)
    places = (4 + rng.normal(0, 1, (50, rank)) @ rng.normal(0, 1, (rank, 8))).astype(np.float32)
    scores, share = principal_components(places)
    assert share == pytest.approx(1 if rank else 0)
    np.testing.assert_allclose(scores.std(0), [1] * rank + [0] * (3 - rank), atol=1e-6)
    assert (as_colors(scores)[:, rank:] == 128).all()


@pytest.mark.parametrize('shape', [(3, 8), (9, 2)])
def test_too_little_for_three_components(shape):
    with pytest.raises(ValueError, match=f'{shape[0]} places with {shape[1]} channels'):
        principal_components(np.random.default_rng(0).normal(size=shape))


def test_maps_of_the_stages_that_a_backbone_returns():
    images = [torch.rand(1, 3, 16, 24), torch.rand(1, 3, 8, 8)]
    maps = stage_maps(Pooled(), images, [3, 1])
    assert [one.shape for one in maps[3]] == [(2, 3, 6), (1, 1, 6)] and list(maps) == [3, 1]
    np.testing.assert_allclose(maps[1][0][2, 5, :3], images[0][0, :, 8:12, 20:24].mean((1, 2)), atol=1e-6)
    with pytest.raises(ValueError, match='there is no stage 2: the backbone of the config returns the stages 1, 3$'):
        stage_maps(Pooled(), images, [1, 2])


@pytest.fixture
def draw(monkeypatch, toy_config):
    """Function: the columns of a sheet of stub backbones, title -> image of each tile."""

    def rows(backbones, stages=(3, ), config=None):
        monkeypatch.setattr(features, 'build_backbone', lambda cfg, source, seed: backbones[source])
        titles, rows = feature_rows(config or toy_config(), {name: name for name in backbones}, TILES, stages)
        assert all(len(row) == len(titles) for row in rows)
        return {title: [row[column] for row in rows] for column, title in enumerate(titles)}

    return rows


def test_turned_features_give_the_same_picture(draw):
    columns = draw(dict(a=Pooled(), b=Pooled(ROTATION), c=Pooled(-IDENTITY[::-1])), stages=[3, 1, 3])
    titles = list(columns)
    assert titles[:2] == ['image', 'edge prior\ngaussian_sobel']
    assert [title.split(',')[0] for title in titles[2:]] == [
        f'{name}\nstage {stage}' for stage in (3, 1) for name in 'abc']  # the stages in the order that was asked for
    assert all(title.endswith(' % of variance') for title in titles[2:])
    for first in (titles[2], titles[5]):
        for other in titles[titles.index(first):][:3]:
            for one, same in zip(columns[first], columns[other]):
                assert np.abs(one.astype(int) - same).max() <= 1
    assert [one.shape for one in columns[titles[2]]] == [(8, 12, 3), (8, 8, 3)]
    assert [one.shape for one in columns[titles[5]]] == [(16, 24, 3), (16, 16, 3)]
    assert columns[titles[2]][0].std() > 50


def test_colours_are_the_same_for_all_images(draw):
    colors = list(draw(dict(a=Pooled())).values())[-1]
    places = np.concatenate([  # avg_pool2d of the 8-px squares: their colours, RGB, normalised as the config has it
        np.concatenate([x, x ** 2], -1).reshape(-1, 6) for x in (
            (tile.image[::8, ::8, ::-1].astype(np.float64) - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
            for tile in TILES)])
    expected = as_colors(principal_components(places)[0])
    found = np.concatenate([one.reshape(-1, 3) for one in colors])
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_the_edge_prior_is_shown_where_edges_have_an_effect(draw, toy_config):
    columns = draw(dict(a=Pooled()))
    panels = edge_panels(build_model(toy_config()), TILES[0])
    for name in ('image', 'edge prior\ngaussian_sobel'):
        assert np.array_equal(columns[name][0], panels[name])
    simmim = list(draw(dict(a=Pooled()), config=toy_config('simmim_swin-nano')))
    assert simmim[0] == 'image' and simmim[1].startswith('a\n') and len(simmim) == 2
    segmentation = toy_config()
    segmentation.model.type = 'EncoderDecoder'
    segmentation.default_scope = 'mmseg'
    columns = draw(dict(a=Pooled()), config=segmentation)
    assert len(columns) == 2 and np.array_equal(columns['image'][1], TILES[1].image[..., ::-1])


def test_too_few_places_name_the_stage_and_what_to_do(toy_config):
    with pytest.raises(ValueError, match='stage 4: 2 places with 64 channels .*: show more or larger images'):
        feature_rows(toy_config(), dict(a='scratch'), [make_tile(32, 64, 0)], [4])
