import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt

from egmim_mm.evaluation import boundary_iou
from egmim_mm.evaluation.boundary import (
    boundary_counts,
    boundary_f1,
    boundary_matches,
    class_boundaries,
    diagonal_width,
)
from egmim_mm.storage.mask_values import MaskValues, read_mask


def reference(prediction, target, num_classes, width, ignore_index=255):
    """One erosion for each class and map, as the definition says."""
    valid, intersections, unions = target != ignore_index, [], []
    for index in range(num_classes):
        bands = []
        for labels in (prediction, target):
            region = (labels == index) & valid
            bands.append(region & ~binary_erosion(region, np.ones((3, 3)), iterations=width))
        intersections.append((bands[0] & bands[1]).sum())
        unions.append((bands[0] | bands[1]).sum())
    return np.array(intersections), np.array(unions)


def blobs(rng, shape, num_classes):
    """Random label map with regions of several pixels."""
    coarse = rng.integers(0, num_classes, (shape[0] // 6 + 1, shape[1] // 6 + 1))
    return coarse.repeat(6, 0).repeat(6, 1)[:shape[0], :shape[1]].astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 5), height=st.integers(1, 40),
       length=st.integers(1, 40))
def test_equals_the_definition(seed, width, height, length):
    rng = np.random.default_rng(seed)
    target, prediction = (blobs(rng, (height, length), 4) for _ in range(2))
    prediction = np.where(rng.random(target.shape) < 0.7, target, prediction)
    target[blobs(rng, target.shape, 5) == 4] = 255
    for found, wanted in zip(boundary_iou(prediction, target, 5, width),
                             reference(prediction, target, 5, width)):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize('classes, dtype', [(5, np.uint8), (254, np.uint8), (255, np.int64), (400, np.int64)])
def test_counts_of_several_widths_are_those_of_each(classes, dtype):
    """In any order; with more classes than a byte holds beside its two codes, maps are 16-bit."""
    ignored = 255 if classes < 255 else 999
    rng = np.random.default_rng(classes)
    target, prediction = (blobs(rng, (40, 33), 4).astype(dtype) + dtype(classes - 5) for _ in range(2))
    prediction = np.where(rng.random(target.shape) < 0.7, target, prediction)
    target[4:9, 20:] = prediction[30:, 2] = ignored
    counts = boundary_counts(prediction, target, classes, (5, 1, 9), 2.5, ignored)
    assert counts.shape == (10, classes) and counts.dtype == np.int64 and counts.any(axis=1).all()
    visible = np.where(target == ignored, ignored, prediction)
    for row, width in zip((0, 2, 4), (5, 1, 9)):
        assert np.array_equal(counts[row:row + 2], boundary_iou(prediction, target, classes, width, ignored))
        wanted = reference(np.where(visible == ignored, -1, visible), target, classes, width, ignored)
        assert np.array_equal(counts[row:row + 2], wanted)
    assert np.array_equal(counts[6:], boundary_matches(prediction, target, classes, 2.5, ignored))


def test_by_hand():
    target = np.zeros((9, 9), np.uint8)
    target[2:7, 2:7] = 1  # a 5x5 square: its band of 1 px has 16 pixels
    prediction = np.zeros((9, 9), np.uint8)
    prediction[2:7, 3:8] = 1  # the same square, one pixel to the right
    intersection, union = boundary_iou(prediction, target, 2, width=1)
    # Upper and lower sides share 4 pixels each; of the upright sides, one pixel column meets none.
    assert intersection[1] == 8 and union[1] == 16 + 16 - 8
    same_intersection, same_union = boundary_iou(target, target, 2, width=1)
    assert same_intersection[1] == same_union[1] == 16


def test_image_border_counts_as_boundary():
    target = np.zeros((6, 8), np.uint8)
    intersection, union = boundary_iou(target, target, 1, width=1)
    assert intersection[0] == union[0] == 6 * 8 - 4 * 6


def test_absent_class_has_no_pixels():
    target = np.zeros((6, 6), np.uint8)
    intersection, union = boundary_iou(target, target, 3, width=2)
    assert list(intersection[1:]) == list(union[1:]) == [0, 0]


def test_all_ignored():
    target = np.full((6, 6), 255, np.uint8)
    intersection, union = boundary_iou(np.zeros((6, 6), np.uint8), target, 2, width=3)
    assert list(intersection) == list(union) == [0, 0]


def test_one_pixel_object_is_all_boundary():
    target = np.zeros((7, 7), np.uint8)
    target[3, 3] = 1
    intersection, union = boundary_iou(target, target, 2, width=3)
    assert intersection[1] == union[1] == 1
    intersection, union = boundary_iou(np.zeros_like(target), target, 2, width=3)
    assert intersection[1] == 0 and union[1] == 1


def test_ignored_area_hides_a_wrong_prediction():
    target = np.zeros((8, 8), np.uint8)
    target[:, 4:] = 255
    right, wrong = np.zeros_like(target), np.zeros_like(target)
    wrong[:, 4:] = 1
    for found, wanted in zip(boundary_iou(wrong, target, 2, 1), boundary_iou(right, target, 2, 1)):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize('change, message', [
    (dict(width=0), 'width is 0'),
    (dict(prediction=np.zeros((3, 4), np.uint8)), 'same shape'),
    (dict(prediction=np.full((4, 4), 7)), 'prediction holds the value 7'),
    (dict(target=np.full((4, 4), -1)), 'target holds the value -1'),
])
def test_bad_input(change, message):
    arguments = dict(prediction=np.zeros((4, 4), np.uint8), target=np.zeros((4, 4), np.uint8), width=1)
    with pytest.raises(ValueError, match=message):
        boundary_iou(num_classes=2, **{**arguments, **change})


def contour(labels, index):
    """Pixels of a class with a labelled pixel of another class among their 8 neighbours, pixel by pixel."""
    found = np.zeros(labels.shape, bool)
    for y, x in zip(*np.nonzero(labels == index)):
        around = labels[max(y - 1, 0):y + 2, max(x - 1, 0):x + 2]
        found[y, x] = ((around != index) & (around != 255)).any()
    return found


def reference_matches(prediction, target, num_classes, tolerance):
    """Distances to the other contour, as the definition says."""
    shown, counts = np.where(target == 255, 255, prediction), np.zeros((4, num_classes), int)
    for index in range(num_classes):
        lines = contour(shown, index), contour(target, index)
        for row, (own, other) in enumerate((lines, lines[::-1])):
            distance = distance_transform_edt(~other) if other.any() else np.full(other.shape, np.inf)
            counts[2 * row:2 * row + 2, index] = (own & (distance <= tolerance)).sum(), own.sum()
    return counts


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), tolerance=st.integers(0, 5), height=st.integers(1, 30), length=st.integers(1, 30))
def test_matches_equal_the_definition(seed, tolerance, height, length):
    rng = np.random.default_rng(seed)
    target, prediction = (blobs(rng, (height, length), 4) for _ in range(2))
    prediction = np.where(rng.random(target.shape) < 0.8, target, prediction)
    target[blobs(rng, target.shape, 5) == 4] = 255
    assert np.array_equal(boundary_matches(prediction, target, 5, tolerance),
                          reference_matches(prediction, target, 5, tolerance))


def test_boundary_measures_of_real_masks_equal_the_definitions(shared_data):
    path = shared_data / 'benchmark_samples/loveda/ann_dir/2.png'
    target = read_mask(path, MaskValues('index', (1, 2, 3, 4, 5, 6, 7), (0, )))[:160, 576:736]
    prediction = np.roll(target, (2, 3), (0, 1))
    counts = boundary_matches(prediction, target, 7, 3)
    assert np.array_equal(counts, reference_matches(prediction, target, 7, 3))
    assert (counts[3] > 50).sum() > 2 and (counts[0] < counts[1]).any()
    for found, wanted in zip(boundary_iou(prediction, target, 7, 5), reference(prediction, target, 7, 5)):
        assert np.array_equal(found, wanted)


def test_f1_of_a_moved_edge_by_hand():
    target, prediction = np.zeros((2, 10, 20), np.uint8)
    target[:, 10:] = 1  # boundary of class 1: column 10
    prediction[:, 13:] = 1  # column 13
    assert list(boundary_f1(boundary_matches(prediction, target, 2, 3))) == [1, 1]
    assert list(boundary_f1(boundary_matches(prediction, target, 2, 2))) == [0, 0]
    # matched: 6 of 8 predicted pixels and 3 of 12 true ones
    assert boundary_f1(np.array([[6], [8], [3], [12]]))[0] == pytest.approx(2 * 0.75 * 0.25 / (0.75 + 0.25))


def test_f1_of_classes_without_boundaries():
    target = np.zeros((9, 9), np.uint8)
    prediction = target.copy()
    prediction[4, 4] = 1  # one pixel, and eight of class 0 around it
    counts = boundary_matches(prediction, target, 3, 3)
    assert counts.tolist() == [[0, 0, 0], [8, 1, 0], [0, 0, 0], [0, 0, 0]]
    shares = boundary_f1(counts)
    assert list(shares[:2]) == [0, 0] and np.isnan(shares[2])
    assert boundary_f1(boundary_matches(prediction, prediction, 3, 0))[1] == 1
    assert np.isnan(boundary_f1(boundary_matches(prediction, np.full_like(target, 255), 3, 3))).all()
    with pytest.raises(ValueError, match='tolerance is -1'):
        boundary_matches(prediction, target, 3, -1)


def test_neither_the_image_border_nor_ignored_pixels_are_a_boundary():
    labels = np.zeros((6, 9), np.uint8)
    labels[:, 3] = 255
    labels[:, 7:] = 1
    assert np.unique(class_boundaries(labels).nonzero()[1]).tolist() == [6, 7]


def test_width_from_the_diagonal():
    assert diagonal_width((512, 512), 0.02) == 14  # 0.02 * 724.08 = 14.48
    assert diagonal_width((300, 400), 0.02) == 10
    assert diagonal_width((8, 8), 0.02) == 1
