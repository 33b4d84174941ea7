import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix as sklearn_confusion

from egmim_mm.evaluation import bootstrap_intervals
from egmim_mm.registry import METRICS

CLASSES = ('road', 'roof', 'tree')


def build(**options):
    metric = METRICS.build(dict(type='egmim_mm.SegmentationMetric', **options))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def samples(count=3, size=24):
    rng = np.random.default_rng(1)
    for index in range(count):
        target = rng.integers(0, 3, (size, size))
        guess = np.where(rng.random(target.shape) < 0.5, target, rng.integers(0, 3, target.shape))
        target[:3] = 255
        yield dict(pred_sem_seg=dict(data=torch.from_numpy(guess)[None]),
                   gt_sem_seg=dict(data=torch.from_numpy(target)[None]),
                   img_path=f'tile_{index}.jpg')


def test_pools_the_images_and_returns_every_class():
    metric, batch = build(), list(samples())
    for sample in batch:
        metric.process({}, [sample])
    scores = metric.evaluate(len(batch))

    truth = torch.cat([sample['gt_sem_seg']['data'].flatten() for sample in batch]).numpy()
    guess = torch.cat([sample['pred_sem_seg']['data'].flatten() for sample in batch]).numpy()
    counts = sklearn_confusion(truth[truth != 255], guess[truth != 255])
    hit = np.diag(counts)
    iou = 100 * hit / (counts.sum(0) + counts.sum(1) - hit)
    assert scores['mIoU'] == pytest.approx(iou.mean(), abs=1e-9)
    assert [scores[f'IoU/{name}'] for name in CLASSES] == pytest.approx(list(iou), abs=1e-9)
    assert np.array_equal(metric.confusion, counts)
    assert all(type(value) is float for value in scores.values())
    covered = {key.split('/')[0] + '/*' if '/' in key else key for key in scores}
    assert covered == set(metric.units)


def test_confidence_intervals_come_from_the_images():
    metric, batch = build(bootstrap_draws=50, bootstrap_seed=3), list(samples())
    metric.process({}, batch)
    scores = metric.evaluate(3)
    per_image = np.stack([sklearn_confusion(sample['gt_sem_seg']['data'].flatten()[72:],
                                            sample['pred_sem_seg']['data'].flatten()[72:]) for sample in batch])
    found = metric.confidence
    assert found['intervals'] == bootstrap_intervals(per_image, CLASSES, 50, 3)
    assert (found['level'], found['draws'], found['seed'], found['images']) == (0.95, 50, 3, 3)
    low, high = found['intervals']['mIoU']
    assert low <= scores['mIoU'] <= high and high > low
    for options, count in ((dict(bootstrap_draws=0), 3), ({}, 1)):
        plain = build(**options)
        plain.process({}, batch[:count])
        plain.evaluate(count)
        assert plain.confidence is None
    with pytest.raises(ValueError, match='bootstrap_draws is 1'):
        build(bootstrap_draws=1)


def test_agrees_with_the_metric_of_mmseg_up_to_its_rounding():
    theirs = METRICS.build(dict(type='mmseg.IoUMetric'))
    theirs.dataset_meta = dict(classes=CLASSES)
    ours, batch = build(prefix='test'), list(samples())
    for metric in (ours, theirs):
        metric.process({}, batch)
    ours_scores, their_scores = ours.evaluate(3), theirs.evaluate(3)
    assert ours_scores['test/mIoU'] == pytest.approx(their_scores['mIoU'], abs=0.01)
    assert ours_scores['test/OA'] == pytest.approx(their_scores['aAcc'], abs=0.01)


def test_writes_predictions_without_labels(tmp_path):
    metric, batch = build(output_dir=str(tmp_path), format_only=True), list(samples(1))
    del batch[0]['gt_sem_seg']
    metric.process({}, batch)
    written = np.asarray(Image.open(tmp_path / 'tile_0.png'))
    assert np.array_equal(written, batch[0]['pred_sem_seg']['data'][0])


def test_predictions_keep_the_folders_of_the_tiles(tmp_path):
    metric = build(output_dir=str(tmp_path))
    batch = list(samples(2))
    for folder, sample in zip(('a', 'b'), batch):
        sample.update(img_path=f'{folder}/images/1.jpg', tile_name=f'{folder}/1')
    metric.process({}, batch)
    for folder, sample in zip(('a', 'b'), batch):
        assert np.array_equal(Image.open(tmp_path / folder / '1.png'), sample['pred_sem_seg']['data'][0])
