"""Class weights that follow from the labelled tiles."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

from egmim_mm.engine import ClassWeightsHook
from egmim_mm.engine.hooks.class_weights import class_weights
from egmim_mm.models import LabelledCrossEntropyLoss

PIXELS = np.array([[90, 9, 1, 0], [5, 5, 5, 5], [54, 9, 0, 0]])  # three tiles, of which the first and last are labelled


class Model(nn.Module):

    def __init__(self, *losses):
        super().__init__()
        self.head = nn.Linear(2, 4)
        self.losses = nn.ModuleList(losses)


def runner_of(model, dataset=None):
    dataset = dataset or SimpleNamespace(class_pixels=lambda: PIXELS, metainfo=dict(classes='abcd'))
    return SimpleNamespace(model=model, logger=MMLogger.get_instance('weights'),
                           train_dataloader=SimpleNamespace(dataset=dataset, sampler=SimpleNamespace(members=[0, 2])))


def test_weights_are_powers_of_the_share_with_mean_one():
    pixels = np.array([80, 16, 4, 0])
    assert class_weights(pixels, 0).tolist() == [1, 1, 1, 1]
    whole, half = class_weights(pixels, 1), class_weights(pixels, 0.5)
    assert whole.tolist() == pytest.approx([1 / 2.4, 1 / 0.48, 1 / 0.12, 1])  # three classes of equal sums
    assert half[1] / half[0] == pytest.approx(5**0.5) and half[2] / half[1] == pytest.approx(2)
    assert (half * pixels).sum() / 100 == pytest.approx(1) and half[3] == 1
    assert class_weights(np.zeros(3, int), 0.5).tolist() == [1, 1, 1]


def test_all_losses_get_those_of_the_labelled_tiles():
    model = Model(LabelledCrossEntropyLoss(), LabelledCrossEntropyLoss(loss_weight=0.4))
    ClassWeightsHook(1.0).before_train(runner_of(model))
    wanted = torch.tensor(class_weights(np.array([144, 18, 1, 0]), 1.0), dtype=torch.float32)
    assert all(torch.equal(loss.factors, wanted) for loss in model.losses)
    assert 'factors' not in ''.join(model.state_dict())  # a checkpoint loads without the hook
    logits, labels = torch.randn(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 255]]])
    by_hand = nn.functional.cross_entropy(logits, labels, wanted, ignore_index=255)
    assert model.losses[0](logits, labels).item() == pytest.approx(by_hand.item())


def test_they_take_the_place_of_those_in_the_config():
    loss = LabelledCrossEntropyLoss(class_weight=[1.0, 2.0, 3.0, 4.0])
    ClassWeightsHook(1.0).before_train(runner_of(Model(loss)))
    # 163 pixels of the tiles 0 and 2: three classes of equal sums; the class without pixels has 1
    assert loss.factors.tolist() == pytest.approx([163 / 3 / 144, 163 / 3 / 18, 163 / 3 / 1, 1])


@pytest.mark.parametrize('losses, dataset, message', [
    ([], None, 'no head has this loss'), ([LabelledCrossEntropyLoss()], [1, 2], 'list does not')])
def test_what_cannot_be_weighed(losses, dataset, message):
    with pytest.raises(ValueError, match=message):
        ClassWeightsHook().before_train(runner_of(Model(*losses), dataset))


def test_power_out_of_range():
    with pytest.raises(ValueError, match='power must be in 0..1, got 2'):
        ClassWeightsHook(2)
