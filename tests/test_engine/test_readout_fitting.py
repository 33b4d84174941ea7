"""Fitting read-outs to whole tiles, on a stub model whose features are known."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from egmim_mm.engine.readout_fitting import LabelledDataset, fit_readout
from egmim_mm.engine.readout_loop import ReadoutLoop
from egmim_mm.models import ReadoutHead
from egmim_mm.readout import channel_statistics, fit_logistic

COLOURS = np.array([[60, 60, 60], [180, 180, 180], [200, 60, 60]])


class Colours(nn.Module):
    """Segmentor with two maps: means over 4 px and over 8 px; two groups."""

    def __init__(self, bands=3, factor=1.0):
        super().__init__()
        self.decode_head = ReadoutHead([bands, bands], [0, 1], [[0, 1], [0]], 3)
        self.factor, self.sizes = factor, []

    def data_preprocessor(self, data, training):
        assert not training
        return dict(inputs=torch.stack(data['inputs']).float() / 255)

    def extract_feat(self, images):
        self.sizes.append(tuple(images.shape[2:]))
        return [F.avg_pool2d(self.factor * images, size, ceil_mode=True) for size in (4, 8)]


class Tiles:

    def __init__(self, *tiles):
        self.tiles = tiles

    def get_data_info(self, index):
        return dict(tile_name=f't{index}')

    def __getitem__(self, index):
        return dict(zip(('img', 'gt_seg_map'), self.tiles[index]))


def tile(seed, classes=3, height=64, width=64, bands=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)[:height, :width]
    image = np.clip(COLOURS[labels] + rng.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    return np.dstack([image] * 2)[:, :, :bands], labels.astype(np.uint8)


REGRESSIONS = dict(type='logistic', l2=1e-2), dict(type='logistic', l2=1e-3)


def fit(*tiles, model=None, cells=90, classifiers=REGRESSIONS, window=1024, seed=0):
    model = model or Colours()
    members = range(len(tiles))
    return fit_readout(model, LabelledDataset(Tiles(*tiles), members), cells, classifiers, window, seed), model


def test_the_classifiers_read_the_classes_of_another_tile():
    fitted, model = fit(tile(0), tile(1))
    model.decode_head.set_classifiers(fitted.classifiers, fitted.seen)
    image, labels = tile(2)
    with torch.no_grad():
        maps = model.extract_feat(model.data_preprocessor(dict(inputs=[torch.from_numpy(image.transpose(2, 0, 1))]),
                                                          False)['inputs'])
        found = F.interpolate(model.decode_head(maps), (64, 64), mode='bilinear').argmax(1)[0]
    assert fitted.cells.tolist() == [30, 30, 30] and (found.numpy() == labels).mean() > 0.9


def test_with_all_cells_each_group_is_the_regression_on_its_standardised_maps():
    image, labels = tile(0)
    fitted, model = fit((image, labels), cells=10_000)
    maps = model.extract_feat(torch.from_numpy(image.transpose(2, 0, 1)[None]).float() / 255)
    up = F.interpolate(maps[1], (16, 16), mode='bilinear')
    targets = torch.from_numpy(labels[::4, ::4].astype(np.int64)).flatten()
    shares = torch.bincount(targets)
    assert fitted.cells.tolist() == shares.tolist()
    for (weight, bias), one, l2, loss in zip(fitted.classifiers, (torch.cat([maps[0], up], 1), maps[0]), (1e-2, 1e-3),
                                             fitted.losses):
        features = one[0].flatten(1).T
        mean, std = channel_statistics(features)
        own, constant = fit_logistic((features - mean) / std, targets, 3, l2)
        scores = features @ weight.T + bias
        assert torch.allclose(scores, (features - mean) / std @ own.T + constant, atol=0.05)
        assert float(F.cross_entropy(scores, targets)) == pytest.approx(loss, abs=1e-4)


def test_each_group_has_its_classifier():
    tiles = tile(0), tile(1)
    fitted, _ = fit(*tiles, classifiers=(dict(type='discriminant', shrinkage=0.3), dict(type='logistic', l2=1e-3)))
    other, _ = fit(*tiles)
    assert torch.equal(fitted.classifiers[1][0], other.classifiers[1][0])
    assert not torch.allclose(fitted.classifiers[0][0], other.classifiers[0][0], atol=1e-2)
    assert fitted.losses[0] < 1  # of three classes, from float32 weights for features as they come


@pytest.mark.parametrize('classifiers', [
    [dict(type='logistic')], dict(type='forest'), dict(type='logistic', l2=0), dict(type='discriminant', shrinkage=2),
    dict(type='discriminant', l2=1), 0.1
])
def test_classifiers_that_are_none(classifiers):
    class Runner:
        model, visualizer = Colours(), None

        @staticmethod
        def build_dataloader(dataloader, **kwargs):
            return dataloader

    with pytest.raises(ValueError, match='give one for all or one for each of the 2 groups'):
        ReadoutLoop(Runner, DataLoader([0]), classifiers=classifiers)


def test_the_same_cells_for_every_backbone_and_again():
    first, second = fit(tile(0), tile(1))[0], fit(tile(0), tile(1), model=Colours(factor=4.0))[0]
    for (weight, bias), (larger, same) in zip(first.classifiers, second.classifiers):
        assert torch.allclose(weight, 4 * larger, rtol=1e-3, atol=1e-3) and torch.allclose(bias, same, atol=1e-3)
    again, other = fit(tile(0), tile(1))[0], fit(tile(0), tile(1), seed=1)[0]
    assert torch.equal(again.classifiers[0][0], first.classifiers[0][0])
    assert not torch.equal(other.classifiers[0][0], first.classifiers[0][0])


def test_large_tiles_are_computed_in_windows_and_small_ones_whole():
    image, labels = tile(0, height=90, width=160)
    labels[:, 64:128] = 255
    fitted, model = fit((image, labels), tile(1, height=30, width=22), window=64, cells=10_000)
    # the last windows are moved back to the border; what holds no label is not computed
    assert model.sizes == [(64, 64)] * 4 + [(30, 22)]
    assert fitted.cells.sum() == 23 * 24 + 8 * 6 - 1  # of the cell in the corner 4 of 16 px are labelled


def test_a_class_in_no_tile_and_tiles_without_labels_are_left_out():
    fitted, _ = fit(tile(0, classes=2), (tile(1)[0], np.full((64, 64), 255, np.uint8)))
    assert fitted.seen == [0, 1] and fitted.cells.tolist() == [45, 45, 0]
    assert fitted.classifiers[0][0].shape == (2, 6)


def test_clicked_pixels_are_cells_of_their_own():
    (image, labels), clicked = tile(0), np.full((64, 64), 255, np.uint8)
    places = np.random.default_rng(0).permutation(64 * 64)[:30]
    clicked.flat[places] = labels.flat[places]
    fitted, model = fit((image, clicked))
    cells = {(row // 4, column // 4, labels[row, column]) for row, column in zip(*np.unravel_index(places, (64, 64)))}
    assert fitted.cells.tolist() == [sum(cell[2] == number for cell in cells) for number in range(3)]
    # of a mask that is dense, a cell of which most pixels are ignored stays ignored
    dense = labels.copy()
    dense[:4, 1:] = 255
    assert fit((image, dense), cells=10_000)[0].cells.sum() == 15 * 16
    model.decode_head.set_classifiers(fitted.classifiers, fitted.seen)
    with torch.no_grad():
        maps = model.extract_feat(torch.from_numpy(image.transpose(2, 0, 1)[None]).float() / 255)
        found = F.interpolate(model.decode_head(maps), (64, 64), mode='bilinear').argmax(1)[0]
    assert (found.numpy() == labels).mean() > 0.85


@pytest.mark.parametrize('tiles, says', [
    ([(tile(0)[0], np.full((64, 64), 255, np.uint8))], 'the labels of t0 hold no labelled pixel: a read-out learns'),
    ([tile(0, classes=1), tile(1, classes=1)], 'the labels of t0, t1 hold one class: a read-out learns from two'),
    ([tile(0), tile(1), tile(2, bands=4)], 't2 has 4 bands and t0 has 3: a model takes one number of bands'),
])
def test_labels_that_cannot_teach(tiles, says):
    with pytest.raises(ValueError, match=says):
        fit(*tiles)


def test_names_are_those_of_tiles_or_of_files():
    dataset = SimpleNamespace(get_data_info=lambda index: dict(img_path=f'a/{index}.png'))
    assert LabelledDataset(dataset, [3, 1]).names == ['a/3.png', 'a/1.png']
