"""Class weights, ignored pixels and one-logit heads in the loss of the segmentation configs."""
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from egmim_mm.models import LabelledCrossEntropyLoss
from egmim_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = [0.5, 1.0, 4.0]


@pytest.fixture
def batch():
    """Logits (2, 3, 5, 7) and labels (2, 5, 7), a third of them ignored."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 5, 7), generator=generator)
    labels[:, :, ::3] = 255
    return torch.randn(2, 3, 5, 7, generator=generator), labels


@pytest.fixture(params=['decode_head', 'auxiliary_head'])
def of_config(request):
    """Function: the loss of the base segmentation config with other options, and its factor."""
    import mmseg.models  # noqa: F401  the losses of MMSegmentation register themselves

    loss = Config.fromfile(ROOT / 'configs/_base_/models/upernet_swin-base.py').model[request.param].loss_decode

    def build(**options):
        return MODELS.build(dict(loss, **options)), loss.loss_weight

    return build


def test_class_weights_on_the_base_config_are_torchs_weighted_mean(of_config, batch):
    logits, labels = batch
    for options in (dict(), dict(avg_non_ignore=True)):
        loss, factor = of_config(class_weight=WEIGHTS, **options)
        expected = F.cross_entropy(logits, labels, weight=torch.tensor(WEIGHTS), ignore_index=255)
        torch.testing.assert_close(loss(logits, labels, ignore_index=255), factor * expected)


def test_without_class_weights_it_is_the_mean_over_labelled_pixels(of_config, batch):
    logits, labels = batch
    loss, factor = of_config()
    torch.testing.assert_close(loss(logits, labels, ignore_index=255),
                               factor * F.cross_entropy(logits, labels, ignore_index=255))


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('class_weight', [None, [2.0, 1.0, 0.0]])
def test_the_values_are_those_of_mmsegmentation_where_that_works(batch, use_sigmoid, class_weight):
    from mmseg.models.losses import CrossEntropyLoss

    # the library's mean over labelled pixels with weights hides behind avg_non_ignore=False
    theirs = CrossEntropyLoss(use_sigmoid=use_sigmoid, loss_weight=0.4, class_weight=class_weight,
                              avg_non_ignore=class_weight is None)
    ours = LabelledCrossEntropyLoss(use_sigmoid=use_sigmoid, loss_weight=0.4, class_weight=class_weight)
    if use_sigmoid and class_weight:
        theirs = lambda score, label, ignore_index: 0.4 * (F.binary_cross_entropy_with_logits(  # noqa: E731
            score, torch.stack([label == k for k in range(3)], 1).float(), reduction='none',
            pos_weight=torch.tensor(class_weight).view(3, 1, 1)).mean(1)[label != ignore_index]).mean()
        torch.testing.assert_close(ours(*batch), theirs(*batch, ignore_index=255))
    else:
        assert ours(*batch).item() == theirs(*batch, ignore_index=255).item()


@pytest.mark.parametrize('options', [dict(), dict(class_weight=WEIGHTS), dict(use_sigmoid=True)])
def test_a_batch_without_a_labelled_pixel_costs_nothing(batch, options):
    logits = batch[0].requires_grad_()
    loss = LabelledCrossEntropyLoss(**options)(logits, torch.full_like(batch[1], 255))
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().max() == 0


@pytest.mark.parametrize('weight', [None, 3.0])
def test_one_logit_is_class_1_against_class_0(batch, weight):
    logits, labels = batch[0][:, :1], batch[1].clone()
    labels[labels == 2] = 1
    kept = labels != 255
    expected = F.binary_cross_entropy_with_logits(
        logits[:, 0][kept], labels[kept].float(), pos_weight=weight and torch.tensor(weight))
    loss = LabelledCrossEntropyLoss(use_sigmoid=True, class_weight=weight and [weight])
    torch.testing.assert_close(loss(logits, labels), expected)
    # MMSegmentation's own takes the maximum of no labels
    assert loss(logits, torch.full_like(labels, 255)).item() == 0


def test_weights_of_pixels(batch):
    logits, labels = batch
    factors = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1))
    kept = labels != 255
    plain = F.cross_entropy(logits, labels, ignore_index=255, reduction='none')
    torch.testing.assert_close(LabelledCrossEntropyLoss()(logits, labels, factors), (plain * factors)[kept].mean())


def test_bad_arguments():
    with pytest.raises(ValueError, match='class_weight holds -1.0: weights must not be negative'):
        LabelledCrossEntropyLoss(class_weight=[1.0, -1.0])
    with pytest.raises(ValueError, match='mean over labelled pixels: leave avg_non_ignore out'):
        LabelledCrossEntropyLoss(avg_non_ignore=False)
