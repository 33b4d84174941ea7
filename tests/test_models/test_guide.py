"""The read-out that labels before the mean teacher does."""
import pytest
import torch
from mmengine.registry import DefaultScope
from test_mean_teacher import batch, build, config

from egmim_mm.registry import MODELS

READOUT = dict(model=dict(pixel_features=dict(scale=0.5), decode_head=dict(
    _delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1], groups=[[0], [1]])),
    train_cfg=dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=100))


def guided(**options):
    model = build(guide=dict(readout=READOUT, **options))
    head = model.guide.segmentor.decode_head
    torch.manual_seed(2)
    head.set_classifiers([(torch.randn(2, one.weight.shape[1]) * 0.1, torch.zeros(2)) for one in head.classifiers],
                         [0, 2])
    return model


def test_the_teacher_takes_over():
    model = guided(until=0.5)
    images, raw, valid = batch()[0], torch.zeros(4, 3, 32, 32), torch.ones(4, 1, 32, 32, dtype=torch.bool)
    guide, teacher = model.guide(images), model._logits(model.teacher, images).softmax(1)
    assert guide.shape == teacher.shape == (4, 3, 32, 32) and guide[:, 1].max() < 1e-6  # a class it has not seen
    assert torch.allclose(guide.sum(1), torch.ones(4, 32, 32), atol=1e-5)
    for step, share in ((0, 1), (10, 0.8), (25, 0.5), (50, 0), (90, 0)):
        model.set_iteration(step, 100)
        expected = share * guide + (1 - share) * teacher
        assert torch.allclose(model._probabilities(images), expected, atol=1e-5)
        model.threshold = float(expected.max(1).values.median())
        labels, weights = model.pseudo_labels(images, raw, valid)
        assert 0.4 < weights.mean() < 0.6
        assert (labels[:, 0] == expected.argmax(1)).float().mean() > 0.999
    assert guided().guide.share(1.0) == 1


def test_nothing_trains_it():
    model = guided()
    model.train()
    assert not model.guide.training and not model.guide.segmentor.backbone.training
    assert not [name for name, _ in model.named_parameters() if name.startswith('guide')]
    before = {key: value.clone() for key, value in model.guide.state_dict().items()}
    model.set_iteration(5, 10)
    sum(value for key, value in model.loss(*batch()).items() if 'loss' in key).backward()
    model.update_teacher()
    assert before and all(torch.equal(value, before[key]) for key, value in model.guide.state_dict().items())


def test_a_checkpoint_knows_that_it_is_fitted():
    model, other = guided(), build(guide=dict(readout=READOUT))
    assert not other.guide.fitted
    other.load_state_dict(model.state_dict())
    assert other.guide.fitted and torch.equal(other.guide(batch()[0]), model.guide(batch()[0]))


@pytest.mark.parametrize('guide, says', [
    (dict(readout=READOUT, until=0), 'until is 0: a share of the run above 0'),
    (dict(readout=dict(model=dict(decode_head=dict(type='FCNHead')), train_cfg=dict())), 'is no read-out preset'),
    (dict(readout=dict(train_cfg=dict())), 'is no read-out preset'),
])
def test_refused(guide, says):
    with pytest.raises(ValueError, match=says), DefaultScope.overwrite_default_scope('mmseg'):
        MODELS.build(config(guide=guide))
