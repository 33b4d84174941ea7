"""Errors by distance and by size: against slow definitions, and the sums that must come out."""
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage.measure import label, regionprops

from egmim_mm.evaluation.boundary import class_boundaries
from egmim_mm.evaluation.strata import boundary_distance, confusion_by_distance, iou_counts_by_size
from egmim_mm.storage.mask_values import MaskValues, read_mask

DISTANCES, SIZES = (0, 1, 3, 8), (0, 10, 60)


def pair(seed, size=36, classes=3):
    """Blobs, and a prediction whose borders are moved; a strip is ignored."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((classes, size, size)), (0, 2, 2))
    target = noise.argmax(0)
    prediction = np.roll(target, (1, 2), (0, 1))
    target[10:14] = 255
    return prediction, target


@pytest.mark.parametrize('seed', range(3))
def test_distance_bins_equal_distances_between_points(seed):
    prediction, target = pair(seed)
    points = np.argwhere(class_boundaries(target))
    distance = cdist(np.argwhere(np.ones_like(target, bool)), points).min(1).reshape(target.shape)
    assert np.allclose(boundary_distance(target), distance)
    found = confusion_by_distance(prediction, target, 3, DISTANCES)
    for index, (low, high) in enumerate(zip(DISTANCES, (*DISTANCES[1:], np.inf))):
        inside = (target != 255) & (distance >= low) & (distance < high)
        wanted = np.zeros((3, 3), int)
        np.add.at(wanted, (target[inside], prediction[inside]), 1)
        assert np.array_equal(found[index], wanted)


def test_boundaries_may_come_from_another_reference():
    full = np.zeros((6, 20), int)
    full[:, 10:] = 1
    eroded = full.copy()
    eroded[:, 8:12] = 255  # nothing is left to meet
    assert confusion_by_distance(full, eroded, 2, DISTANCES).sum((1, 2)).tolist() == [0, 0, 0, 6 * 16]
    # columns 9 and 10 are the boundary: 7 and 12 are 2 px away, 2 and 17 are 7 px, 1 and 18 are 8 px
    found = confusion_by_distance(full, eroded, 2, DISTANCES, reference=full)
    assert found.sum((1, 2)).tolist() == [0, 6 * 2, 6 * 10, 6 * 4]


def slow_sizes(prediction, target, num_classes, edges):
    """Each pixel of the union goes to the object that holds the nearest pixel of its class."""
    counts = np.zeros((3, len(edges), num_classes), int)
    for index in range(num_classes):
        objects = regionprops(label(target == index, connectivity=2))
        if not objects:
            continue
        guess, truth = (prediction == index) & (target != 255), target == index
        pixels = np.argwhere(guess | truth)
        gaps = np.array([cdist(pixels, item.coords).min(1) for item in objects])
        owner = gaps.argmin(0)
        assert ((gaps == gaps.min(0)).sum(0) == 1).mean() > 0.9  # a tie may go either way
        for number, item in enumerate(objects):
            place = max(i for i, edge in enumerate(edges) if item.area >= edge)
            own = pixels[owner == number]
            counts[:, place, index] += ((guess & truth)[tuple(own.T)].sum(), len(own), 1)
    return counts


@pytest.mark.parametrize('seed', range(3))
def test_sizes_equal_the_definition(seed):
    prediction, target = pair(seed)
    found, wanted = (f(prediction, target, 3, SIZES) for f in (iou_counts_by_size, slow_sizes))
    assert np.array_equal(found[[0, 2]], wanted[[0, 2]])
    assert np.array_equal(found[1].sum(0), wanted[1].sum(0))
    assert np.abs(found[1] - wanted[1]).max() <= 0.1 * wanted[1].sum()  # ties


def test_sums_over_the_bins_are_the_pooled_counts_of_real_masks(shared_data):
    path = shared_data / 'benchmark_samples/loveda/ann_dir/0.png'
    target = read_mask(path, MaskValues('index', (1, 2, 3, 4, 5, 6, 7), (0, )))[:300, :300]
    prediction = np.roll(np.where(target == 255, 0, target), (2, 3), (0, 1))
    labelled = target != 255
    sizes, distances = (f(prediction, target, 7, edges) for f, edges in
                        ((iou_counts_by_size, (0, 2000, 10_000)), (confusion_by_distance, DISTANCES)))
    assert distances.any((1, 2)).all() and sizes[2].any(1).all()  # every bin holds something
    confusion = distances.sum(0)
    for index in np.unique(target[labelled]):
        truth, guess = target == index, (prediction == index) & labelled
        assert sizes[:2, :, index].sum(1).tolist() == [(truth & guess).sum(), (truth | guess).sum()]
        assert confusion[index].sum() == truth.sum() and confusion[:, index].sum() == guess.sum()


def test_one_pixel_objects_absent_classes_and_ignored_maps():
    target = np.zeros((9, 9), int)
    target[2, 2] = 1
    prediction = np.zeros_like(target)
    prediction[2, 2:4] = 1  # found, with one pixel too much
    found = iou_counts_by_size(prediction, target, 3, SIZES)
    assert found[:, :, 1].tolist() == [[1, 0, 0], [2, 0, 0], [1, 0, 0]]
    assert found[:, :, 0].tolist() == [[0, 0, 79], [0, 0, 80], [0, 0, 1]]
    assert not found[:, :, 2].any()
    ignored = np.full_like(target, 255)
    assert not iou_counts_by_size(prediction, ignored, 3, SIZES).any()
    assert not confusion_by_distance(prediction, ignored, 3, DISTANCES).any()
    assert np.isinf(boundary_distance(ignored)).all()
