"""Heads learn from a few labelled pixels: the mean over these, whoever computes it."""
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional as F

from egmim_mm.evaluation.boundary_metric import BoundaryMetric
from egmim_mm.evaluation.segmentation_metric import SegmentationMetric
from egmim_mm.models.whole_step import whole_step
from egmim_mm.registry import MODELS

SIZE, CLASSES = 32, 3
COMMON = dict(channels=8, num_classes=CLASSES, norm_cfg=dict(type='GN', num_groups=4), dropout_ratio=0.0)
HEADS = dict(
    UPerHead=dict(in_index=[0, 1, 2, 3], in_channels=[4, 8, 16, 32], **COMMON),
    FCNHead=dict(in_index=2, in_channels=16, num_convs=1, concat_input=False, **COMMON))


def build(name, **options):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    loss = dict(type='egmim_mm.LabelledCrossEntropyLoss', **options)
    return MODELS.build(dict(HEADS[name], type=f'egmim_mm.{name}', loss_decode=loss)).train()


def clicked(*points):
    """Samples with so many labelled pixels each."""
    generator, samples = torch.Generator().manual_seed(1), []
    for number in points:
        labels = torch.full((1, SIZE, SIZE), 255)
        places = torch.randperm(SIZE * SIZE, generator=generator)[:number]
        labels.view(-1)[places] = torch.randint(CLASSES, (number, ), generator=generator)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=labels)))
    return samples


def features(number):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(number, 4 << i, 8 >> i, 8 >> i, generator=generator) for i in range(4)]


def mean_over_points(head, maps, samples, weights=(1.0, 1.0, 1.0)):
    logits = F.interpolate(head.forward(maps), (SIZE, SIZE), mode='bilinear').log_softmax(1)
    total = count = 0
    for row, sample in zip(logits, samples):
        for y, x in (sample.gt_sem_seg.data[0] != 255).nonzero().tolist():
            number = int(sample.gt_sem_seg.data[0, y, x])
            total, count = total - weights[number] * row[number, y, x], count + weights[number]
    return total / count


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('weights', [None, (0.5, 1.0, 3.0)])
def test_the_loss_is_the_mean_over_the_labelled_pixels(name, weights):
    head, samples, maps = build(name, class_weight=weights), clicked(5, 0, 1), features(3)
    values = head.loss(maps, samples, {})
    expected = mean_over_points(head, maps, samples, weights or (1.0, ) * 3)
    assert values['loss_ce'].item() == pytest.approx(expected.item(), rel=1e-5)
    assert head.loss(maps, clicked(0, 0, 0), {})['loss_ce'] == 0


def test_parts_of_a_step_make_the_gradient_of_the_whole():
    head, samples, maps = build('UPerHead'), clicked(7, 1, 0, 0, 2, 0), features(6)
    mean_over_points(head, maps, samples).backward()
    expected = [parameter.grad.clone() for parameter in head.parameters()]
    head.zero_grad()
    parts = [dict(data_samples=samples[i:i + 2]) for i in (0, 2, 4)]  # the second has no labelled pixel
    model, losses = nn.ModuleList([head]), []
    with whole_step(model, parts, nullcontext()):
        for start, part in zip((0, 2, 4), parts):
            loss = head.loss([x[start:start + 2] for x in maps], part['data_samples'], {})['loss_ce']
            (loss / 3).backward()
            losses.append(loss.item())
    assert losses[1] == 0 and np.mean(losses) == pytest.approx(mean_over_points(head, maps, samples).item(), rel=1e-5)
    for parameter, gradient in zip(head.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)


def test_metrics_of_masks_that_are_mostly_unlabelled():
    truth = np.full((2, 20, 20), 255)
    truth[0, [3, 9, 15], [4, 4, 4]] = [0, 0, 1]
    found = np.zeros_like(truth)
    found[0, 15] = 1
    found[0, 9] = 2
    metrics = SegmentationMetric(), BoundaryMetric(widths=(3, ), diagonal_share=None)
    for metric in metrics:
        metric.dataset_meta = dict(classes=('a', 'b', 'c'))
        metric.process({}, [dict(pred_sem_seg=dict(data=torch.from_numpy(p[None])), img_path=f'{i}.png',
                                 gt_sem_seg=dict(data=torch.from_numpy(t[None])))
                            for i, (p, t) in enumerate(zip(found, truth))])
    regions, boundaries = (metric.evaluate(2) for metric in metrics)
    assert [regions[f'IoU/{name}'] for name in 'abc'] == [50, 100, 0] and regions['mIoU'] == 50
    assert boundaries['boundary_mIoU_3px'] == 50  # every labelled pixel is a border
