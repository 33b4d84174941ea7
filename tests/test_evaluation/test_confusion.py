import numpy as np
import pytest
import torch
import torchmetrics.functional as tm
from sklearn import metrics as sk

from egmim_mm.evaluation import confusion_matrix, segmentation_scores
from egmim_mm.storage.mask_values import MaskValues, read_mask

CLASSES = ('road', 'roof', 'tree', 'car')


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 4, (40, 50)).astype(np.uint8)
    prediction = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 4, target.shape))
    target[rng.random(target.shape) < 0.1] = 255
    return torch.from_numpy(prediction), torch.from_numpy(target)


def test_equals_scikit_learn(maps):
    prediction, target = maps
    counted = target != 255
    truth, guess = target[counted].numpy(), prediction[counted].numpy()
    confusion = confusion_matrix(prediction, target, 4)
    assert np.array_equal(confusion, sk.confusion_matrix(truth, guess, labels=range(4)))

    scores = segmentation_scores(confusion, CLASSES)
    iou = 100 * sk.jaccard_score(truth, guess, average=None)
    f1 = 100 * sk.f1_score(truth, guess, average=None)
    assert scores['mIoU'] == pytest.approx(iou.mean())
    assert scores['mF1'] == pytest.approx(f1.mean())
    assert [scores[f'IoU/{name}'] for name in CLASSES] == pytest.approx(list(iou))
    assert [scores[f'F1/{name}'] for name in CLASSES] == pytest.approx(list(f1))
    assert scores['OA'] == pytest.approx(100 * sk.accuracy_score(truth, guess))
    assert scores['mAcc'] == pytest.approx(100 * sk.balanced_accuracy_score(truth, guess))
    assert scores['kappa'] == pytest.approx(sk.cohen_kappa_score(truth, guess))


def torchmetrics_scores(prediction, target, num_classes):
    """IoU and F1 of each class (NaN: absent), OA and kappa; the first three in per cent."""
    options = dict(num_classes=num_classes, ignore_index=255)
    pair = prediction.long().flatten(), target.long().flatten()
    iou = tm.jaccard_index(*pair, task='multiclass', average='none', **options)
    f1 = tm.f1_score(*pair, task='multiclass', average='none', **options)
    absent = [i for i in range(num_classes) if not ((pair[1] == i) | ((pair[0] == i) & (pair[1] != 255))).any()]
    iou[absent] = f1[absent] = float('nan')
    oa = tm.accuracy(*pair, task='multiclass', average='micro', **options)
    kappa = tm.cohen_kappa(*pair, task='multiclass', **options)
    return 100 * iou, 100 * f1, 100 * oa, kappa


def assert_equals_torchmetrics(prediction, target, classes):
    scores = segmentation_scores(confusion_matrix(prediction, target, len(classes)), classes)
    iou, f1, oa, kappa = torchmetrics_scores(prediction, target, len(classes))
    assert [scores[f'IoU/{name}'] for name in classes] == pytest.approx(iou.tolist(), abs=1e-4, nan_ok=True)
    assert [scores[f'F1/{name}'] for name in classes] == pytest.approx(f1.tolist(), abs=1e-4, nan_ok=True)
    assert scores['mIoU'] == pytest.approx(float(iou.nanmean()), abs=1e-4)
    assert scores['mF1'] == pytest.approx(float(f1.nanmean()), abs=1e-4)
    assert scores['OA'] == pytest.approx(float(oa), abs=1e-4)
    assert scores['kappa'] == pytest.approx(float(kappa), abs=1e-5)


def test_equals_torchmetrics(maps):
    assert_equals_torchmetrics(*maps, CLASSES)


def test_equals_torchmetrics_on_real_masks(shared_data):
    table = MaskValues('index', (1, 2, 3, 4, 5, 6), (0, ))  # not every class is in this tile
    path = shared_data / 'benchmark_samples/potsdam/ann_dir/2_10_0_0_512_512.png'
    target = torch.from_numpy(read_mask(path, table))
    prediction = torch.where(target == 255, 0, target).roll((5, 9), (0, 1))
    assert len(target.unique()) > 2
    assert_equals_torchmetrics(prediction, target, (*CLASSES, 'low', 'clutter'))


def test_absent_class_is_left_out_of_the_means_and_a_false_alarm_is_not():
    scores = segmentation_scores([[8, 0, 0], [0, 0, 0], [0, 0, 0]], CLASSES[:3])
    assert scores['mIoU'] == 100 and np.isnan(scores['IoU/roof'])
    scores = segmentation_scores([[8, 2, 0], [0, 0, 0], [0, 0, 0]], CLASSES[:3])
    assert scores['IoU/roof'] == 0 and scores['mIoU'] == pytest.approx((80 + 0) / 2)


def test_no_pixel_gives_nan():
    scores = segmentation_scores(np.zeros((2, 2)), CLASSES[:2])
    assert all(np.isnan(value) for value in scores.values())


def test_counts_stay_exact_beyond_float32():
    confusion = torch.tensor([[2**24 + 1, 0], [0, 1]], dtype=torch.int64)
    assert segmentation_scores(confusion, CLASSES[:2])['OA'] == 100


@pytest.mark.parametrize('which, value', [('target', 4), ('prediction', 9)])
def test_value_outside_the_classes_is_named(maps, which, value):
    prediction, target = (item.clone() for item in maps)
    dict(target=target, prediction=prediction)[which][0, 0] = value
    target[0, 0] = value if which == 'target' else 0
    with pytest.raises(ValueError, match=f'{which} holds the value {value}'):
        confusion_matrix(prediction, target, 4)


def test_wrong_shapes_are_refused(maps):
    with pytest.raises(ValueError, match='shape'):
        confusion_matrix(maps[0][:5], maps[1], 4)
    with pytest.raises(ValueError, match='4 classes: road, roof'):
        segmentation_scores(np.zeros((3, 3)), CLASSES)
