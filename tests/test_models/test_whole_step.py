"""Losses of the parts of a step, averaged, are those of all images at once."""
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from egmim_mm.models import LabelledCrossEntropyLoss
from egmim_mm.models.whole_step import whole_step

IMAGES = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    """One convolution with the losses of a head of MMSegmentation."""
    ignore_index = 9

    def __init__(self, losses):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 3, 1)
        self.loss_decode = losses

    def forward(self, part):
        losses = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in part['data_samples']])
        return sum(loss(self.layer(part['inputs']), labels, ignore_index=9) for loss in losses)


def batch(first, last):
    """Some of four images with 0, 64, 2048 and 4096 labelled pixels."""
    labels = torch.randint(0, 3, (4, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    labels[0], labels[1, :, 1:], labels[2, :, :32] = 9, 9, 9
    images = IMAGES * torch.tensor([9.0, 9.0, 1.0, 1.0]).view(4, 1, 1, 1)
    samples = [SimpleNamespace(gt_sem_seg=SimpleNamespace(data=label)) for label in labels]
    return dict(inputs=images[first:last], data_samples=samples[first:last])


def losses():
    weighted = LabelledCrossEntropyLoss(class_weight=[0.5, 1.0, 4.0], loss_weight=0.4)
    binary = LabelledCrossEntropyLoss(use_sigmoid=True, class_weight=[0.5, 1.0, 4.0])
    return dict(plain=LabelledCrossEntropyLoss(), weighted=weighted, binary=binary,
                several=nn.ModuleList([LabelledCrossEntropyLoss(), weighted]))


@pytest.mark.parametrize('kind', losses())
def test_unequal_numbers_of_labelled_pixels(kind):
    head = Head(losses()[kind])
    expected = head(batch(0, 4))
    expected.backward()
    gradient, head.layer.weight.grad = head.layer.weight.grad, None
    parts = [batch(0, 2), batch(2, 4)]
    alone = [head(part).item() for part in parts]
    assert sum(alone) / 2 != pytest.approx(expected.item(), rel=0.1)
    with whole_step(nn.ModuleList([head]), parts, nullcontext()):
        mean = sum(head(part) for part in parts) / 2
        mean.backward()
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(head.layer.weight.grad, gradient)
    with pytest.raises(RuntimeError, match='stop'), whole_step(head, parts, nullcontext()):
        raise RuntimeError('stop')
    assert [head(part).item() for part in parts] == alone  # by themselves the parts have means of their own


def test_without_a_labelled_pixel_it_is_zero():
    head, part = Head(LabelledCrossEntropyLoss(class_weight=[0.5, 1.0, 4.0])), batch(0, 1)
    with whole_step(head, [part, part], nullcontext()):
        assert head(part).item() == 0


def test_scales_of_the_terms_follow_all_parts(build, normalized):
    whole, model = build(), build()
    inputs = normalized(IMAGES, whole)
    parts = [dict(inputs=inputs[:2], data_samples=None), dict(inputs=inputs[2:], data_samples=None)]
    whole.set_iteration(500, 1000, 0)
    expected = whole.loss(inputs)
    model.set_iteration(500, 1000, 0)
    with whole_step(model, parts, nullcontext()):
        torch.testing.assert_close(model.balance.scale, whole.balance.scale)
        values = []
        for number, part in enumerate(parts):
            model.set_part(number, 2)
            values.append(model.loss(**part))
    assert whole.balance.scale.all()
    for name, value in expected.items():
        torch.testing.assert_close(sum(one[name] for one in values) / 2, value)


def test_the_next_iteration_begins_with_all_images(build):
    model = build()
    model.set_part(1, 2)
    model.set_iteration(1, 1000, 0)
    assert model.part == (0, 1)
