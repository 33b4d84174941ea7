from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.datasets.plain_tiles import Tile
from egmim_mm.edges import edge_prior
from egmim_mm.pictures.pretraining import (
    as_rows,
    build_model,
    edge_panels,
    load_model,
    mask_rows,
    picture_size,
    picture_unit,
    reconstruction_panels,
)
from egmim_mm.pictures.sheets import edge_to_rgb


def make_tile(height=96, width=64, bands=3, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, bands), np.uint8)
    return Tile('a', image.repeat(8, 0).repeat(8, 1))


def hidden_pixels(model, tile, seed):
    """(H, W) bool, from the model's own functions."""
    rgb = torch.from_numpy(tile.image[..., ::-1].transpose(2, 0, 1).copy())[None] / 255
    mask = model.draw_mask(model.edge_prior(rgb), seed=seed)[0].numpy()
    return mask.repeat(4, 0).repeat(4, 1)


def test_visible_pixels_are_the_images_own_bit_for_bit(toy_egmim):
    model, tile = toy_egmim(), make_tile()
    panels = reconstruction_panels(model, tile, seed=3)
    assert list(panels) == ['image', 'edge prior', 'masked', 'reconstruction', 'predicted edges']
    assert all(panel.shape == (96, 64, 3) and panel.dtype == np.uint8 for panel in panels.values())
    rgb = tile.image[..., ::-1]
    assert np.array_equal(panels['image'], rgb)
    hidden = hidden_pixels(model, tile, 3)
    assert 0.5 < hidden.mean() < 0.7
    for name in ('masked', 'reconstruction'):
        assert np.array_equal(panels[name][~hidden], rgb[~hidden])
    assert (panels['masked'][hidden] == 128).all()
    assert (panels['reconstruction'][hidden] != rgb[hidden]).any(1).mean() > 0.9


def test_masks_follow_the_seed_and_not_the_training(toy_egmim):
    model, tile = toy_egmim(), make_tile()
    before = reconstruction_panels(model, tile, seed=1)
    model.set_iteration(50, 100, 7)
    after = reconstruction_panels(model, tile, seed=1)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not np.array_equal(before['masked'], reconstruction_panels(model, tile, seed=2)['masked'])


def test_what_is_hidden_does_not_leak_into_the_reconstruction(toy_egmim):
    model, tile = toy_egmim(mask_generator=dict(policy='random')), make_tile()
    hidden = hidden_pixels(model, tile, 0)
    other = tile.image.copy()
    other[hidden] = 255 - other[hidden]
    first, second = (reconstruction_panels(model, Tile('a', image)) for image in (tile.image, other))
    for name in ('masked', 'reconstruction', 'predicted edges'):
        assert np.array_equal(first[name], second[name])
    assert not np.array_equal(first['image'], second['image'])


@pytest.mark.parametrize('strength', [0.0, 0.4, 1.0])
def test_predicted_edges_are_those_of_the_structure_term(toy_egmim, strength):
    model = toy_egmim()
    model.terms['structure'].head.predict[1].weight.data.zero_()
    model.terms['structure'].head.predict[1].bias.data.fill_(9.0)
    model.terms['structure'].head.predict[1].bias.data[0] = strength
    panel = reconstruction_panels(model, make_tile())['predicted edges']
    assert np.array_equal(panel, edge_to_rgb(np.full((96, 64), strength)))


def test_simmim_has_no_predicted_edges(toy_egmim):
    panels = reconstruction_panels(toy_egmim('simmim_swin-nano'), make_tile())
    assert list(panels) == ['image', 'edge prior', 'masked', 'reconstruction']


def test_of_many_bands_three_are_shown_and_the_title_says_so(toy_egmim):
    model = toy_egmim(data_preprocessor=dict(mean=[100.0] * 5, std=[50.0] * 5, bgr_to_rgb=False),
                      backbone=dict(in_channels=5))
    tile = make_tile(bands=5)
    panels = reconstruction_panels(model, tile)
    assert np.array_equal(panels['image (bands 1-3 of 5)'], tile.image[..., :3])
    assert mask_rows(model, [tile])[0][0] == 'image (bands 1-3 of 5)'


def test_edges_of_the_config_and_of_other_operators(toy_egmim):
    model, tile = toy_egmim(edge_prior=dict(sigma=1.0)), make_tile()
    rgb = torch.from_numpy(tile.image[..., ::-1].transpose(2, 0, 1).copy())[None] / 255
    floor = 0.5 / 255  # of EdgePrior
    expected = {name: edge_to_rgb(edge_prior(rgb, name, floor, **options)[0].numpy()) for name, options in
                (('gaussian_sobel', dict(sigma=1.0)), ('sobel', {}))}
    own = edge_panels(model, tile)
    assert list(own) == ['image', 'edge prior\ngaussian_sobel']
    several = edge_panels(model, tile, ['sobel', 'gaussian_sobel'])
    assert list(several) == ['image', 'sobel', 'gaussian_sobel']
    for panel, name in ((own['edge prior\ngaussian_sobel'], 'gaussian_sobel'), (several['sobel'], 'sobel'),
                        (several['gaussian_sobel'], 'gaussian_sobel')):
        # colours of neighbouring strengths: the pixels went through mean and std and back
        assert np.abs(panel.astype(int) - expected[name]).max() <= 3


def test_masks_of_policies_and_seeds_with_their_hidden_share(toy_egmim):
    model, tiles = toy_egmim(), [make_tile(seed=0), make_tile(seed=1)]
    titles, rows = mask_rows(model, tiles, ['random', 'edge_stratified'], seeds=[0, 5], progress=[0.5])
    assert titles[:2] == ['image', 'edge prior'] and len(titles) == 6 and all(len(row) == 6 for row in rows)
    assert titles[2] == 'random\n66.7 % hidden\nprogress 0.5, seed 0'  # 4 of 6 cells
    assert titles[5] == 'edge_stratified\n66.7 % hidden\nprogress 0.5, seed 5'
    for row in rows:
        for panel in row[2:]:
            grey = (panel == 128).all(2)
            assert grey.mean() == pytest.approx(4 / 6, abs=0.01)
            assert np.array_equal(panel[~grey], row[0][~grey])
    drawn = [(row[2] == 128).all(2) for row in rows]
    assert not np.array_equal(*drawn)  # each tile has a mask of its own
    generator = torch.Generator().manual_seed(6)  # seed 5, second tile
    edge = model.edge_prior(torch.from_numpy(tiles[1].image[..., ::-1].transpose(2, 0, 1).copy())[None] / 255)
    mask = model.mask_generator(edge, 0.5, generator)[0].numpy().repeat(4, 0).repeat(4, 1)
    assert ((rows[1][5] == 128).all(2) == mask).mean() > 0.99  # a pixel may happen to be that grey


def test_tiles_of_different_size_give_a_range_of_shares(toy_egmim):
    titles, _ = mask_rows(toy_egmim(), [make_tile(96, 64), make_tile(64, 64)])
    assert titles[2].startswith('edge_stratified\n50.0 to 66.7 % hidden')


@pytest.mark.parametrize('options, message', [
    (dict(policies=['edgy']), "unknown mask policy 'edgy'"), (dict(progress=[2]), r'progress must lie in \[0, 1\]')])
def test_bad_masks(toy_egmim, options, message):
    with pytest.raises(ValueError, match=message):
        mask_rows(toy_egmim(), [make_tile()], **options)


@pytest.mark.parametrize('nominal, cell, size', [(64, 32, 256), (128, 32, 256), (192, 32, 384), (224, 32, 224),
                                                 (224, 64, 256), (256, 32, 256)])
def test_size_of_the_pictures(toy_egmim, nominal, cell, size):
    model = toy_egmim(backbone=dict(img_size=nominal), mask_generator=dict(cell_size=cell))
    assert picture_size(model) == size and size % picture_unit(model) == 0


def test_rows_have_the_titles_of_their_panels():
    a, b = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    titles, rows = as_rows(iter([dict(x=a, y=b), dict(x=b, y=a)]))
    assert titles == ['x', 'y'] and rows == [[a, b], [b, a]]


def test_a_checkpoint_is_loaded_or_refused(toy_egmim, toy_config, tmp_path):
    model = toy_egmim()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'last.pth')
    cfg = toy_config()
    loaded = load_model(cfg, tmp_path)
    assert not loaded.training
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())

    cfg.model.terms[1].channels = 16
    with pytest.raises(CheckpointError, match='last.pth does not hold the weights of this config.*5 weights differ, '
                       'the first is terms.structure.head.project.0.weight'):
        load_model(cfg, tmp_path)
    del cfg.model.terms[1]
    with pytest.raises(CheckpointError, match='the first is balance.scale'):
        load_model(cfg, tmp_path)


def test_a_model_of_another_phase_is_refused():
    cfg = Config.fromfile(Path(__file__).resolve().parents[2] / 'configs/upernet_dubai.py')
    with pytest.raises(ValueError, match='^upernet_dubai.py is no pretraining config: its model is egmim_mm.Fitted'):
        build_model(cfg)
