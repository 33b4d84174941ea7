"""Paired bootstrap of known cases."""
import numpy as np
import pytest
from scipy import stats

from egmim_mm.evaluation.confusion import segmentation_scores
from egmim_mm.evaluation.paired import overlaps, paired_bootstrap, scores_of


def confusions(accuracy, images=20, classes=3, pixels=300, seed=0):
    """(N, K, K) counts; ``accuracy`` is a number or one for each image."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((images, classes, classes), np.int64)
    for index, share in enumerate(np.broadcast_to(accuracy, images)):
        hit = rng.binomial(pixels, share, classes)
        for row in range(classes):
            counts[index, row, row], counts[index, row, (row + 1) % classes] = hit[row], pixels - hit[row]
    return counts


def miou(*runs):
    """(S, N, 2, K) of some runs."""
    return np.stack([overlaps(dict(confusion=run))['mIoU'] for run in runs])


def test_scores_are_those_of_the_pooled_matrix():
    counts = confusions(0.7)
    counts[:, 2] = counts[:, :, 2] = 0  # absent
    found = scores_of(overlaps(dict(confusion=counts))['mIoU'].sum(0))
    expected = segmentation_scores(counts.sum(0), 'abc')
    assert found[0] == pytest.approx(expected['mIoU']) and found[1] == pytest.approx(expected['IoU/a'])
    assert np.isnan(found[3]) and np.isnan(expected['IoU/c'])


def test_boundaries_are_measures_too():
    counts = dict(confusion=confusions(0.7), boundary_iou_3px=np.ones((20, 2, 3), int),
                  boundary_f1_3px=np.ones((20, 4, 3), int))
    assert set(overlaps(counts)) == {'mIoU', 'boundary_mIoU_3px'}


def test_identical_runs_do_not_differ():
    same = miou(confusions(0.7), confusions(0.6, seed=1))
    scores = paired_bootstrap(same, same, draws=50)
    assert (scores.difference == 0).all() and (scores.low == 0).all() and (scores.high == 0).all()
    assert (scores.per_seed == 0).all() and scores.per_seed.shape == (2, 4)


def test_runs_of_one_kind_have_an_interval_around_0():
    first = miou(*(confusions(0.7, seed=seed) for seed in range(4)))
    second = miou(*(confusions(0.7, seed=seed) for seed in range(10, 14)))
    scores = paired_bootstrap(first, second, draws=400)
    assert scores.low[0] < 0 < scores.high[0] and abs(scores.difference[0]) < 1


def test_an_obvious_difference_lies_above_0():
    first, second = (miou(*(confusions(share, seed=seed) for seed in seeds))
                     for share, seeds in ((0.6, range(3)), (0.8, range(3, 6))))
    scores = paired_bootstrap(first, second, draws=400)
    assert 0 < scores.low[0] < scores.difference[0] < scores.high[0]
    assert scores.difference[0] == pytest.approx((scores.second - scores.first)[0])
    assert scores.difference[0] == pytest.approx(scores.per_seed[:, 0].mean())
    assert (scores.low[1:] > 0).all()  # each class too
    swapped = paired_bootstrap(second, first, draws=400)
    assert swapped.low[0] == pytest.approx(-scores.high[0])


def test_pairing_of_images_cancels_what_makes_an_image_hard():
    hard = np.linspace(0.3, 0.9, 20)
    first, second = miou(confusions(hard)), miou(confusions(hard + 0.03, seed=1))
    paired = paired_bootstrap(first, second, draws=400)
    shuffled = paired_bootstrap(first, second[:, np.random.default_rng(0).permutation(20)], draws=400)
    assert paired.difference[0] == pytest.approx(shuffled.difference[0])
    assert paired.low[0] > 0 > shuffled.low[0]
    assert shuffled.high[0] - shuffled.low[0] > 3 * (paired.high[0] - paired.low[0])


def test_pairing_of_seeds_cancels_which_tiles_were_labelled():
    levels = (0.4, 0.55, 0.7, 0.85)
    first = miou(*(confusions(level, seed=seed) for seed, level in enumerate(levels)))
    second = miou(*(confusions(level + 0.04, seed=10 + seed) for seed, level in enumerate(levels)))
    paired, mixed = (paired_bootstrap(first, other, draws=400) for other in (second, second[::-1]))
    assert paired.low[0] > 0 > mixed.low[0]


def test_seeds_that_disagree_widen_the_interval():
    better, worse = confusions(0.8, seed=1), confusions(0.5, seed=2)
    first = miou(confusions(0.65), confusions(0.65), confusions(0.65))
    agree, disagree = (paired_bootstrap(first, miou(better, better, last), draws=400) for last in (better, worse))
    assert agree.low[0] > 0 > disagree.low[0]


def test_over_images_alone_it_is_scipys_bootstrap():
    hard = np.random.default_rng(3).uniform(0.3, 0.9, 30)
    first, second = miou(confusions(hard, 30)), miou(confusions(np.clip(hard + 0.05, 0, 1), 30, seed=1))

    def gained(index):
        return scores_of(second[0][index].sum(0))[0] - scores_of(first[0][index].sum(0))[0]

    expected = stats.bootstrap((np.arange(30), ), gained, n_resamples=3000, vectorized=False, method='percentile',
                               rng=np.random.default_rng(0)).confidence_interval
    found = paired_bootstrap(first, second, draws=3000)
    width = expected.high - expected.low
    assert found.low[0] == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high[0] == pytest.approx(expected.high, abs=0.06 * width)


def test_the_seed_of_the_resampling_counts_and_the_order_of_chunks_does_not():
    first, second = miou(confusions(0.6)), miou(confusions(0.65, seed=1))
    low = [paired_bootstrap(first, second, draws=200, seed=seed).low[0] for seed in (0, 0, 1)]
    assert low[0] == low[1] != low[2]


def test_class_that_is_nowhere_has_no_number():
    counts = confusions(0.7)
    counts[:, 2] = counts[:, :, 2] = 0
    scores = paired_bootstrap(miou(counts), miou(counts), draws=20)
    assert np.isnan([scores.difference[3], scores.low[3], scores.high[3]]).all() and scores.difference[0] == 0


@pytest.mark.parametrize(('options', 'says'), [(dict(draws=1), 'draws is 1'), (dict(level=1.0), 'level 1.0')])
def test_options_out_of_range(options, says):
    with pytest.raises(ValueError, match=says):
        paired_bootstrap(miou(confusions(0.6)), miou(confusions(0.6)), **options)


def test_other_images_cannot_be_paired():
    with pytest.raises(ValueError, match='cannot be paired'):
        paired_bootstrap(miou(confusions(0.6)), miou(confusions(0.6, images=19)))


def test_a_run_counts_as_often_as_its_pretraining_and_its_seed_were_drawn():
    # the gain is all of the pretraining: 0, 10 and 20 points, whatever the seed
    levels = [0.5 + 0.1 * pretraining for pretraining in range(3) for _ in range(4)]
    first = miou(*(confusions(0.5) for _ in levels))
    second = miou(*(confusions(level, seed=0) for level in levels))
    nested, flat = (paired_bootstrap(first, second, draws=600, pretrainings=number) for number in (3, 1))
    assert nested.difference[0] == flat.difference[0]
    # the mean of three draws is the lowest one in one of 27 resamples; of twelve draws hardly ever
    assert nested.low[0] == pytest.approx(nested.per_seed[:4, 0].mean(), abs=2.5) and nested.low[0] < flat.low[0] - 2
    with pytest.raises(ValueError, match='12 runs cannot be those of 5 pretrainings'):
        paired_bootstrap(first, second, pretrainings=5)
