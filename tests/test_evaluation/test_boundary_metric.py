"""BoundaryMetric pools what boundary_iou counts."""
import numpy as np
import pytest
import torch
from scipy import ndimage

from egmim_mm.registry import METRICS

CLASSES = ('road', 'roof', 'tree', 'never')


def build(**options):
    metric = METRICS.build(dict(type='egmim_mm.BoundaryMetric', **options))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def pair(seed, size=40):
    """Blobs of three classes, and a prediction whose borders are moved by two pixels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((3, size, size)), (0, 4, 4))
    target = noise.argmax(0)
    prediction = np.roll(target, 2, axis=1)
    target[:4] = 255
    return prediction, target


def sample(prediction, target):
    return dict(pred_sem_seg=dict(data=torch.from_numpy(prediction)[None]),
                gt_sem_seg=dict(data=torch.from_numpy(target)[None]))


def band(mask, width):
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width)


def test_pools_over_images_and_equals_morphology():
    pairs = [pair(seed) for seed in range(3)]
    metric = build(widths=(1, 3))
    metric.process({}, [sample(*p) for p in pairs[:2]])
    metric.process({}, [sample(*pairs[2])])
    scores = metric.evaluate(3)
    for width in (1, 3):
        shares = []
        for index in range(3):
            counts = np.zeros(2)
            for prediction, target in pairs:
                guess = band((prediction == index) & (target != 255), width)
                truth = band(target == index, width)
                counts += (guess & truth).sum(), (guess | truth).sum()
            shares.append(100 * counts[0] / counts[1])
            assert scores[f'boundary_IoU_{width}px/{CLASSES[index]}'] == pytest.approx(shares[-1])
        assert scores[f'boundary_mIoU_{width}px'] == pytest.approx(np.mean(shares))
        assert np.isnan(scores[f'boundary_IoU_{width}px/never'])
    assert {key.split('/')[0] + '/*' if '/' in key else key for key in scores} == set(metric.units)


def test_perfect_prediction_scores_100_and_none_without_labels_nan():
    _, target = pair(0)
    metric = build()
    metric.process({}, [sample(target, target)])
    assert metric.evaluate(1)['boundary_mIoU_3px'] == 100
    empty = build()
    empty.process({}, [sample(np.zeros_like(target), np.full_like(target, 255))])
    assert np.isnan(empty.evaluate(1)['boundary_mIoU_5px'])


@pytest.mark.parametrize('widths', [(), (0, 3)])
def test_width_below_one_is_refused(widths):
    with pytest.raises(ValueError, match='1 px or more'):
        build(widths=widths)
