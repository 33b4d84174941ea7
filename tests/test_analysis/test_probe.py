"""The probe on a stub backbone whose features are known."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix as sklearn_confusion
from torch import nn

from egmim_mm.analysis.crops import crop_batches
from egmim_mm.analysis.probe import _sample, probe
from egmim_mm.inference.frozen_backbone import standardizer
from egmim_mm.readout.cells import values_at

CLASSES = ('dark', 'bright')


class MeanColors(nn.Module):
    """Average colours at strides 4, 8, 16 and 32; `useful` keeps one stage, noise replaces the others."""

    def __init__(self, useful=None):
        super().__init__()
        self.useful = useful

    def forward(self, x, mask=None):
        maps = [F.avg_pool2d(x, stride) for stride in (4, 8, 16, 32)]
        if self.useful is not None:
            maps = [one if index == self.useful else torch.zeros_like(one) for index, one in enumerate(maps)]
        return tuple(maps)


def tiles(count, size=(64, 80), seed=0, noise=20.0):
    """Squares of 16 px, dark or bright, aligned with the coarse maps' cells."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        label = rng.integers(0, 2, (size[0] // 16, size[1] // 16)).repeat(16, 0).repeat(16, 1)
        image = 80 + 100 * label[..., None] + rng.normal(0, noise, (*label.shape, 3))
        label = label.astype(np.uint8)
        label[:8] = 255
        found.append((np.clip(image, 0, 255).astype(np.uint8), label))
    return found


PREPROCESS = standardizer([128.0] * 3, [64.0] * 3)


def run(backbone, stages='all', **options):
    return probe(backbone, tiles(4), tiles(2, seed=1), PREPROCESS, 32, CLASSES, stages, batch_size=3, **options)


@pytest.mark.parametrize('size', [(3, 5), (6, 10), (12, 40), (7, 9)])
def test_values_at_equal_upsampling_everything(size):
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn((2, 4, 3, 5), generator=generator)
    wanted = torch.rand((2, *size), generator=generator) < 0.5
    upsampled = F.interpolate(feature, size, mode='bilinear', align_corners=False)
    found = values_at(feature, size, *wanted.nonzero(as_tuple=True))
    torch.testing.assert_close(found, upsampled.permute(0, 2, 3, 1)[wanted])


def test_separable_features_are_read_out_and_every_labelled_pixel_counts():
    scores = run(MeanColors())['all']
    counts = np.array(scores['confusion'])
    test_labels = np.concatenate([label.ravel() for _, label in tiles(2, seed=1)])
    assert counts.sum(1).tolist() == [int((test_labels == index).sum()) for index in range(2)]
    # Off the diagonal: the bilinear seams between squares, 2 of 16 px wide at most.
    assert scores['mIoU'] > 88 and scores['OA'] > 94
    hit = np.diag(counts)
    assert scores['mIoU'] == pytest.approx((100 * hit / (counts.sum(0) + counts.sum(1) - hit)).mean())


def test_each_stage_is_judged_alone():
    scores = run(MeanColors(useful=1), 'each')
    assert list(scores) == ['all', 'stage 1', 'stage 2', 'stage 3', 'stage 4']
    assert scores['all']['OA'] > 90 and scores['stage 2']['OA'] > 90
    assert scores['stage 1']['mIoU'] < 50 and scores['stage 4']['mIoU'] < 50  # one class everywhere
    chosen = run(MeanColors(useful=1), [(0, 1), (3, )])
    assert list(chosen) == ['stages 1+2', 'stage 4']
    assert chosen['stage 4'] == scores['stage 4']


def test_test_logits_equal_classifying_upsampled_features():
    """Classify-then-upsample, as the probe does, against upsample-then-classify, as it is defined."""
    from egmim_mm.readout.linear import channel_statistics, fit_logistic
    backbone, options = MeanColors(), dict(samples=300, seed=3)
    counts = np.array(run(backbone, **options)['all']['confusion'])
    features, labels = _sample(backbone, crop_batches(tiles(4), PREPROCESS, 32, 3), 2, 300, 3, 'cpu')
    statistics = [channel_statistics(feature) for feature in features]
    joined = torch.cat([(feature - mean) / std for feature, (mean, std) in zip(features, statistics)], 1)
    weight, bias = fit_logistic(joined, labels, 2)
    truth, guess = [], []
    for images, targets in crop_batches(tiles(2, seed=1), PREPROCESS, 32, 1):
        maps = [F.interpolate((one - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1), (8, 8), mode='bilinear')
                for one, (mean, std) in zip(backbone(images), statistics)]
        logits = F.conv2d(torch.cat(maps, 1), weight[:, :, None, None], bias)
        logits = F.interpolate(logits, (32, 32), mode='bilinear')
        truth.append(targets[targets != 255])
        guess.append(logits.argmax(1)[targets != 255])
    wanted = sklearn_confusion(torch.cat(truth), torch.cat(guess))
    assert np.abs(counts - wanted).sum() <= 4  # ties in float32


def test_sample_is_uniform_seeded_and_without_repetition():
    class Positions(nn.Module):
        """The first feature is the red channel, which numbers the cells."""

        def forward(self, x, mask=None):
            return (x[:, :, ::4, ::4], )

    cells = np.arange(16 * 16, dtype=np.float32).reshape(16, 16)
    image = np.repeat(cells.repeat(4, 0).repeat(4, 1)[..., None], 3, 2)
    label = np.zeros((64, 64), np.uint8)

    def draw(samples, seed):
        batches = crop_batches([(image, label)], standardizer([0] * 3, [1] * 3), 32, 1)
        features, labels = _sample(Positions(), batches, 1, samples, seed, 'cpu')
        assert len(labels) == len(features[0])
        return features[0][:, 0].long().tolist()

    assert draw(40, 0) == draw(40, 0) != draw(40, 1)
    assert sorted(draw(1000, 0)) == list(range(256))  # fewer cells than asked for: all of them
    hits = np.bincount(np.concatenate([draw(64, seed) for seed in range(200)]), minlength=256)
    assert hits.sum() == 200 * 64 and len(set(draw(64, 5))) == 64
    # A quarter of all cells is drawn each time: 50 +- 6 hits; windows seen early and late alike.
    assert 20 < hits.min() and hits.max() < 80
    quarters = hits.reshape(2, 8, 2, 8).sum((1, 3)).ravel()
    assert np.abs(quarters - 3200).max() < 200


def test_leaves_the_backbone_unchanged():
    backbone = nn.Module()
    backbone.layer = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4))
    backbone.forward = lambda x: (backbone.layer(x), )
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    run(backbone)
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_bad_input():
    with pytest.raises(ValueError, match="stages is 'first'"):
        run(MeanColors(), 'first')
    with pytest.raises(ValueError, match=r'stages \(4,\)'):
        run(MeanColors(), [(4, )])
    unlabelled = [(np.zeros((32, 32, 3), np.uint8), np.full((32, 32), 255))]
    with pytest.raises(ValueError, match='training tiles have no labelled pixel'):
        probe(MeanColors(), unlabelled, tiles(1), PREPROCESS, 32, CLASSES)
    with pytest.raises(ValueError, match='test tiles have no labelled pixel'):
        probe(MeanColors(), tiles(1), unlabelled, PREPROCESS, 32, CLASSES)
