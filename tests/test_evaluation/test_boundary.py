import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from egmim_mm.evaluation import boundary_iou


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
