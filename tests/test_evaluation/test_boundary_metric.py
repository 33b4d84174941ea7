"""BoundaryMetric pools what boundary_iou counts."""
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from scipy import ndimage

from egmim_mm.evaluation.boundary import boundary_counts, boundary_f1, boundary_iou, boundary_matches
from egmim_mm.registry import METRICS
from egmim_mm.storage.mask_values import MaskValues

ROOT = Path(__file__).resolve().parents[2]
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


def test_keeps_the_counts_of_each_image():
    pairs = [pair(seed) for seed in range(3)]
    metric = build(widths=(1, 3), diagonal_share=0.05)
    metric.process({}, [sample(*p) for p in pairs])
    metric.evaluate(3)
    assert list(metric.per_image) == ['boundary_iou_1px', 'boundary_iou_3px', 'boundary_iou_5pct', 'boundary_f1_3px']
    for index, (prediction, target) in enumerate(pairs):
        for width, name in ((1, '1px'), (3, '3px'), (3, '5pct')):  # 5 % of a diagonal of 57 px
            expected = boundary_iou(prediction, target, 4, width)
            assert np.array_equal(metric.per_image[f'boundary_iou_{name}'][index], expected)
        assert np.array_equal(metric.per_image['boundary_f1_3px'][index], boundary_matches(prediction, target, 4, 3))
    metric = build(widths=(2, ), diagonal_share=None, f1_tolerance=None)
    metric.process({}, [sample(*pairs[0])])
    metric.evaluate(1)
    assert {key: array.shape for key, array in metric.per_image.items()} == {'boundary_iou_2px': (1, 2, 4)}


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


@pytest.mark.parametrize('options, message', [
    (dict(diagonal_share=2), 'diagonal_share is 2'),
    (dict(f1_tolerance=-1), 'f1_tolerance is -1'),
])
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_share_of_the_diagonal_is_that_of_each_image_and_f1_pools_counts():
    pairs = [pair(0, 40), pair(1, 180)]  # 2 % of the diagonals: 1 and 5 px
    metric = build(widths=(3, ))
    metric.process({}, [sample(*p) for p in pairs])
    scores = metric.evaluate(2)
    intersection, union = sum(np.stack(boundary_iou(*p, 4, width)) for p, width in zip(pairs, (1, 5)))
    f1 = boundary_f1(sum(boundary_matches(*p, 4, 3) for p in pairs))
    for index, name in enumerate(CLASSES[:3]):
        assert scores[f'boundary_IoU_2pct/{name}'] == pytest.approx(100 * intersection[index] / union[index])
        assert scores[f'boundary_F1_3px/{name}'] == pytest.approx(100 * f1[index])
    assert scores['boundary_mF1_3px'] == pytest.approx(100 * np.mean(f1[:3]))
    assert np.isnan(scores['boundary_F1_3px/never'])
    plain = build(widths=(3, ), diagonal_share=None, f1_tolerance=None)
    plain.process({}, [sample(*p) for p in pairs])
    assert set(plain.evaluate(2)) == {key for key in scores if '3px' in key and 'F1' not in key}


def test_full_reference_replaces_the_eroded_one(tmp_path, write_image):
    prediction, full = pair(0)
    full[:4] = 0
    # borders left out, as in the eroded reference of ISPRS
    eroded = np.where(ndimage.minimum_filter(full, 7) == ndimage.maximum_filter(full, 7), full, 255)
    path = write_image(tmp_path / 'full.png', (full + 1).astype(np.uint8))
    table = MaskValues('index', (1, 2, 3, 4), (0, ))
    expected, found, without = build(), build(), build()
    expected.process({}, [sample(prediction, full)])
    found.process({}, [sample(prediction, eroded) | dict(full_seg_map_path=path, mask_table=table)])
    without.process({}, [sample(prediction, eroded)])
    wanted = expected.evaluate(1)
    assert found.evaluate(1) == pytest.approx(wanted, nan_ok=True)
    assert without.evaluate(1)['boundary_mIoU_3px'] != pytest.approx(wanted['boundary_mIoU_3px'])


def test_counts_stay_in_the_order_of_the_images_and_few_images_wait(monkeypatch):
    """The first image takes longest; with 2 threads no more than 8 images are held."""
    pairs = [pair(seed, 24) for seed in range(30)]
    metric, open_images, finished = build(threads=2), [], []
    original = metric._counts

    def slow(prediction, truth):
        time.sleep(0.2 if not finished else 0)
        finished.append(1)
        return original(prediction, truth)

    monkeypatch.setattr(metric, '_counts', slow)
    for one in pairs:
        metric.process({}, [sample(*one)])
        open_images.append(len(metric._open))
    collected = []
    monkeypatch.setattr(metric, 'compute_metrics', lambda results: collected.extend(results) or {})
    metric.evaluate(len(pairs))
    assert max(open_images) <= 8 and len(collected) == 30 and not metric._open and metric._pool is None
    for one, counts in zip(pairs, collected):
        assert np.array_equal(counts, boundary_counts(*one, 4, (3, 5, 1), 3))


def test_an_image_that_cannot_be_counted_ends_the_evaluation():
    prediction, target = pair(0)
    target[5] = 9
    metric = build()
    metric.process({}, [sample(prediction, target)])
    with pytest.raises(ValueError, match='target holds the value 9'):
        metric.evaluate(1)
    with pytest.raises(ValueError, match='threads is 0'):
        build(threads=0)


def test_configs_measure_boundaries_in_the_test_alone():
    cfg = Config.fromfile(ROOT / 'configs/upernet_isaid.py')
    assert [metric.type for metric in cfg.val_evaluator] == ['egmim_mm.SegmentationMetric']
    assert [metric.type for metric in cfg.test_evaluator] == ['egmim_mm.SegmentationMetric', 'egmim_mm.BoundaryMetric']
