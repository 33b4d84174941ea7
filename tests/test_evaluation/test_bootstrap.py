"""Bootstrap intervals against drawing images one by one."""
import numpy as np
import pytest

from egmim_mm.evaluation import bootstrap_intervals
from egmim_mm.evaluation.bootstrap import CHUNK, bootstrap_confusions

CLASSES = ('road', 'roof', 'tree')


def confusions(images, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, (images, 3, 3)) + 200 * np.eye(3, dtype=int)
    return counts * rng.integers(1, 6, (images, 1, 1))


def miou(counts):
    hit = np.diag(counts)
    return 100 * np.mean(hit / (counts.sum(0) + counts.sum(1) - hit))


def test_intervals_agree_with_drawing_images_one_by_one():
    counts, rng = confusions(30), np.random.default_rng(99)
    draws = [miou(counts[rng.integers(0, 30, 30)].sum(0)) for _ in range(4000)]
    low, high = bootstrap_intervals(counts, CLASSES, draws=4000)['mIoU']
    spread = np.std(draws)
    assert np.allclose([low, high], np.percentile(draws, [2.5, 97.5]), atol=0.15 * spread)
    assert low < miou(counts.sum(0)) < high


def test_resampled_counts_are_whole_sets_of_images():
    counts = np.stack([np.diag([10**k, 0, 0]) for k in range(5)])  # digits count how often each image was drawn
    pooled = bootstrap_confusions(counts, CHUNK + 7, seed=1)[:, 0, 0]
    digits = np.array([[int(value) // 10**k % 10 for k in range(5)] for value in pooled])
    assert pooled.shape == (CHUNK + 7, ) and (digits.sum(1) == 5).all()
    assert len(np.unique(pooled)) > 30 and digits.mean(0) == pytest.approx(np.ones(5), abs=0.4)


def test_seed_decides_and_level_nests():
    counts = confusions(12)
    first = bootstrap_intervals(counts, CLASSES, 200, seed=4)
    assert first == bootstrap_intervals(counts, CLASSES, 200, seed=4)
    assert first != bootstrap_intervals(counts, CLASSES, 200, seed=5)
    narrow = bootstrap_intervals(counts, CLASSES, 200, seed=4, level=0.5)
    assert all(first[k][0] <= narrow[k][0] <= narrow[k][1] <= first[k][1] for k in first)


def test_equal_images_have_no_spread():
    counts = np.repeat(confusions(1), 9, axis=0)
    low, high = bootstrap_intervals(counts, CLASSES, 20)['mIoU']
    assert low == pytest.approx(high) == pytest.approx(miou(counts[0]))


def test_undefined_scores():
    counts = confusions(6)
    counts[:, 2], counts[:, :, 2] = 0, 0  # the third class is nowhere
    intervals = bootstrap_intervals(counts, CLASSES, 50)
    assert np.isnan(intervals['IoU/tree']).all() and np.isfinite(intervals['mIoU']).all()
    assert np.isnan(bootstrap_intervals(np.zeros((3, 3, 3), int), CLASSES, 10)['OA']).all()  # all ignored
    counts[0, 2, 2] = 100  # in one image: some resamples miss it
    assert bootstrap_intervals(counts, CLASSES, 50)['IoU/tree'] == [100, 100]


@pytest.mark.parametrize('change, message', [
    (dict(confusions=np.zeros((0, 3, 3))), 'N > 0 images'),
    (dict(draws=1), 'at least 2 draws'),
    (dict(level=1), 'level between 0 and 1'),
])
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(**(dict(confusions=confusions(3), classes=CLASSES) | change))
