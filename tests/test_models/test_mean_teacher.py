"""Pseudo-labels, strong views and the average, against values worked out by hand."""
import math

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from torch.nn import functional as F

from egmim_mm.checks.head_checks import check_heads
from egmim_mm.datasets import TileSample
from egmim_mm.models.segmentors.class_thresholds import ClassThresholds
from egmim_mm.models.segmentors.feature_dropout import decoded, without_channels
from egmim_mm.models.segmentors.pseudo_labels import boundary_weights, of_present_classes, pseudo_label_loss
from egmim_mm.models.segmentors.strong_views import StrongViews
from egmim_mm.registry import MODELS

SIZE = 32


def config(**options):
    head = dict(type='FCNHead', in_channels=8, in_index=0, channels=4, num_convs=1, concat_input=False, num_classes=3,
                norm_cfg=dict(type='BN'), loss_decode=dict(type='egmim_mm.LabelledCrossEntropyLoss'))
    backbone = dict(type='egmim_mm.MaskedSwinTransformer', img_size=SIZE, window_size=2, out_indices=(0, ),
                    arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4]), use_mask_token=False)
    preprocessor = dict(type='egmim_mm.TilePreprocessor', mean=[120.0] * 3, std=[60.0] * 3, size=(SIZE, SIZE))
    return ConfigDict(dict(type='egmim_mm.MeanTeacherSegmentor', student='EncoderDecoder', backbone=backbone,
                           decode_head=head, data_preprocessor=preprocessor, train_cfg=dict(),
                           test_cfg=dict(mode='whole')), **options)


def build(**options):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(config(**options))


def batch(number=4):
    """Half labelled, half unlabelled, normalised; with samples."""
    torch.manual_seed(1)
    inputs, samples = torch.randn(number, 3, SIZE, SIZE), []
    for i in range(number):
        sample = TileSample(metainfo=dict(sample_seed=i, img_shape=(SIZE, SIZE), **(
            dict(unlabelled=True) if i % 2 else {})))
        labels = torch.full((1, SIZE, SIZE), 255) if i % 2 else torch.randint(3, (1, SIZE, SIZE))
        sample.set_data(dict(gt_sem_seg=PixelData(data=labels)))
        samples.append(sample)
    return inputs, samples


def test_the_loss_is_that_of_a_few_lines():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 1, 4, 4))
    weights, valid = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4) < 0.8
    expected = sum(-weights[b, 0, y, x] * logits[b, :, y, x].log_softmax(0)[labels[b, 0, y, x]]
                   for b in range(2) for y in range(4) for x in range(4) if valid[b, 0, y, x]) / valid.sum()
    assert pseudo_label_loss(logits, labels, weights, valid).item() == pytest.approx(expected.item(), rel=1e-5)
    assert pseudo_label_loss(logits, labels, weights, torch.zeros_like(valid)) == 0


def test_a_boundary_counts_as_much_as_there_is_an_edge():
    labels, edge = torch.zeros(1, 1, 6, 12, dtype=torch.long), torch.zeros(1, 1, 6, 12)
    labels[..., 4:] = 1  # an edge of 0.7 one px from the boundary in the upper rows, none in the lower ones
    edge[:, :, :3, 5] = 0.7
    weights = boundary_weights(labels, edge, 1)[0, 0]
    assert torch.equal(weights[:, :3], torch.ones(6, 3)) and torch.equal(weights[:, 5:], torch.ones(6, 7))
    assert weights[0, 4] == pytest.approx(0.7) and weights[0, 3] == 0  # two px from the edge
    assert (weights[4:, 3:5] == 0).all()


def test_thresholds_follow_the_confidence_of_each_class():
    thresholds, labels = ClassThresholds(0.8, 3), torch.tensor([0, 0, 1, 1]).view(1, 1, 2, 2)
    valid = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    assert thresholds().tolist() == pytest.approx([0.8] * 3)
    sure = torch.tensor([1.0, 0.8, 0.45, 0.1]).view(1, 1, 2, 2)
    thresholds.add(sure[..., :1], labels[..., :1], valid[..., :1])  # two parts of a step
    thresholds.add(sure[..., 1:], labels[..., 1:], valid[..., 1:])
    assert not thresholds.confidence.any()
    thresholds.update()
    assert thresholds.confidence.tolist() == pytest.approx([0.9, 0.45, 0.0])
    assert thresholds().tolist() == pytest.approx([0.8, 0.4, 0.8])  # the last was never predicted
    thresholds.add(torch.full((1, 1, 2, 2), 0.5), labels, valid)
    thresholds.eval().add(torch.ones(1, 1, 2, 2), labels, valid)  # somebody looks at pseudo-labels
    thresholds.train().update()
    assert thresholds.confidence.tolist() == pytest.approx([0.9 * 0.99 + 0.005, 0.45 * 0.99 + 0.005, 0.0])


def test_strong_views_follow_from_the_seed_alone():
    torch.manual_seed(0)
    images = torch.rand(3, 3, 16, 16) * 255
    views = StrongViews()
    whole = views.recolored(images, [5, 6, 7])
    assert torch.allclose(whole[1:2], views.recolored(images[1:2], [6]), atol=1e-3)
    assert not torch.allclose(whole[1:2], views.recolored(images[1:2], [8]), atol=1)
    grey = StrongViews(color=False, grey=1.0, blur=0.0).recolored(images, [5, 6, 7])
    assert torch.allclose(grey, images.mean(1, keepdim=True).expand_as(images))
    same = StrongViews(color=False, grey=0.0, blur=0.0).recolored(images, [5, 6, 7])
    assert torch.equal(same, images)
    smooth = StrongViews(color=False, grey=0.0, blur=1.0, sigma=(2.0, 2.0)).recolored(images, [5, 6, 7])
    assert (smooth.var((2, 3)) < 0.1 * images.var((2, 3))).all()


def test_mixtures_keep_images_labels_and_weights_together():
    number = torch.arange(6.0).view(6, 1, 1, 1)
    image, labels = number.expand(6, 3, 16, 16), number.long().expand(6, 1, 16, 16)
    mixed, views, weights = StrongViews(cutmix=1.0).mixed(range(6), labels, image, number.expand(6, 1, 16, 16))
    assert torch.equal(views, mixed.float().expand_as(views)) and torch.equal(weights, mixed.float())
    own = (mixed == labels).flatten(1).float().mean(1)
    theirs = (mixed == labels[[1, 0, 3, 2, 5, 4]]).flatten(1).float().mean(1)
    assert torch.equal(own + theirs, torch.ones(6)) and 0 < theirs.mean() < 1
    two = StrongViews(cutmix=1.0).mixed([2, 3], labels[2:4], image[2:4])  # whatever else is computed with them
    assert torch.equal(two[0], mixed[2:4]) and torch.equal(two[1], views[2:4])
    odd = StrongViews(cutmix=1.0).mixed(range(5), labels[:5])[0]
    assert torch.equal(odd[:4], mixed[:4]) and set(odd[4].flatten().tolist()) == {0, 4}
    alone = StrongViews(cutmix=1.0).mixed([0], labels[3:4])[0]
    assert torch.equal(alone, labels[3:4])


def test_the_average():
    model = build(momentum=0.9)
    assert all(torch.equal(value, model.teacher.state_dict()[name])
               for name, value in model.student.state_dict().items())
    assert not list(model.teacher.parameters())  # no optimizer has them
    name = 'decode_head.conv_seg.weight'
    start = model.teacher.state_dict()[name].clone()
    for iteration, expected in ((0, 1.0), (4, 0.2), (50, 0.1)):  # share of the student
        before = model.teacher.state_dict()[name].clone()
        with torch.no_grad():
            model.student.state_dict()[name].add_(1)
        model.set_iteration(iteration, 100)
        model.update_teacher()
        now = model.student.state_dict()[name]
        assert torch.allclose(model.teacher.state_dict()[name], before + expected * (now - before), atol=1e-6)
    assert not torch.equal(start, model.teacher.state_dict()[name])


def test_losses_of_a_batch():
    model = build(threshold=0.4, ramp_up=0.5, weight=0.5, strong=dict(color=False, grey=0, blur=0, cutmix=0)).train()
    assert not model.teacher.training and model.student.training
    inputs, samples = batch()
    model.set_iteration(10, 100)
    model.student.eval()  # no batch statistics, so that the reference is the same forward pass
    losses = model(inputs, samples, mode='loss')
    with torch.no_grad():
        teacher = F.interpolate(model.teacher(inputs[1::2]), (SIZE, SIZE), mode='bilinear').softmax(1)
        student = F.interpolate(model.student(inputs[1::2]), (SIZE, SIZE), mode='bilinear')
    sure, labels = teacher.max(1)
    accepted = sure >= 0.4
    weight = 0.5 * math.exp(-5 * (1 - 10 / 50)**2)
    expected = weight * (F.cross_entropy(student, labels, reduction='none') * accepted).mean()
    assert 0 < accepted.float().mean() < 1
    assert losses['loss_unlabelled'].item() == pytest.approx(expected.item(), rel=1e-4)
    assert losses['accepted'] == accepted.float().mean() and losses['unlabelled_weight'] == pytest.approx(weight)
    assert losses['agreement'] == (student.argmax(1) == labels).float().mean()
    shares = [losses[f'accepted_{k}'].item() for k in range(3)]
    assert shares == pytest.approx([((labels == k) & accepted).sum().item() / accepted.sum().item() for k in range(3)])
    alone = model.student.loss(inputs[::2], samples[::2])
    assert losses['decode.loss_ce'] == alone['decode.loss_ce']
    losses['loss_unlabelled'].backward()
    assert all(parameter.grad is not None for parameter in model.student.decode_head.parameters())


def test_features_without_channels_teach_as_much_as_strong_views():
    options = dict(threshold=0.4, ramp_up=0, strong=dict(color=False, grey=0, blur=0, cutmix=0))
    model, alone = (build(feature_dropout=share, **options).train() for share in (0.25, None))
    inputs, samples = batch()
    values = []
    for one in (model, alone):
        one.set_iteration(10, 100)
        one.student.eval()
        values.append(one(inputs, samples, mode='loss')['loss_unlabelled'].item())
    images, seeds = inputs[1::2], [1, 3]
    with torch.no_grad():
        sure, labels = F.interpolate(model.teacher(images), (SIZE, SIZE), mode='bilinear').softmax(1).max(1)
        maps = [x.clone() for x in model.student.extract_feat(images)]
        for place, seed in enumerate(seeds):
            rng = np.random.default_rng((seed, 4))
            for x in maps:
                x[place] *= torch.from_numpy(rng.uniform(size=len(x[place])) >= 0.25).view(-1, 1, 1) / 0.75
        logits = F.interpolate(model.student.decode_head(maps), (SIZE, SIZE), mode='bilinear')
        dropped = (F.cross_entropy(logits, labels, reduction='none') * (sure >= 0.4)).mean().item()
    assert values[0] == pytest.approx((values[1] + dropped) / 2, rel=1e-4) and values[1] != pytest.approx(dropped)


def test_channels_are_dropped_whole_and_by_the_seed_alone():
    maps = [torch.ones(2, 400, 3, 3), torch.ones(2, 8, 2, 2)]
    both = without_channels(maps, 0.25, [5, 6])
    assert both[0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(both[0], both[0][..., :1, :1].expand_as(both[0]))
    assert both[0].mean().item() == pytest.approx(1, abs=0.1)
    one = without_channels([x[1:] for x in maps], 0.25, [6])
    assert all(torch.equal(x[1:], y) for x, y in zip(both, one)) and not torch.equal(both[0][0], both[0][1])


def test_parts_and_the_whole_have_one_loss():
    def model():
        made = build(threshold=0.4, ramp_up=0, adaptive=True).train()
        made.student.eval()
        made.set_iteration(1, 10)
        return made

    inputs, samples = batch(8)
    valid = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    valid[:, :9] = True
    samples[1].valid = PixelData(data=valid)  # parts differ in their pixels
    parts = [dict(inputs=inputs[:4], data_samples=samples[:4]), dict(inputs=inputs[4:], data_samples=samples[4:])]
    whole, halves = model(), model()
    expected = whole(inputs, samples, mode='loss')
    halves.look_ahead(parts)
    found = [halves(part['inputs'], part['data_samples'], mode='loss') for part in parts]
    for name in ('loss_unlabelled', 'accepted', 'agreement'):
        mean = sum(one[name].item() for one in found) / 2
        assert mean == pytest.approx(expected[name].item(), rel=1e-5) and expected[name] > 0
    for one in (whole, halves):
        one.update_teacher()
    assert torch.allclose(whole.class_thresholds.confidence, halves.class_thresholds.confidence, rtol=1e-5)
    assert halves._pixels is None


def test_pseudo_labels_of_absent_classes_do_not_count():
    labels, weights = torch.tensor([0, 1, 2, 0]).view(1, 1, 2, 2).repeat(3, 1, 1, 1), torch.rand(3, 1, 2, 2)
    samples = [TileSample(metainfo=meta) for meta in (dict(), dict(present=(0, 2)), dict(present=(1, )))]
    same, kept = of_present_classes(labels, weights, samples)
    shown = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0]]).view(3, 1, 2, 2)
    assert same is labels and torch.equal(kept, weights * shown)

    model = build(threshold=0.01, ramp_up=0, strong=dict(cutmix=0)).train()
    inputs, samples = batch()
    model.set_iteration(1, 10)
    with torch.no_grad():
        found = F.interpolate(model.teacher(inputs[1::2]), (SIZE, SIZE), mode='bilinear').argmax(1)
    for sample in samples[1::2]:
        sample.set_metainfo(dict(present=(1, )))
    losses = model(inputs, samples, mode='loss')
    assert losses['accepted'].item() == pytest.approx((found == 1).float().mean().item())
    assert losses['accepted_1'] == 1 and losses['accepted_0'] == losses['accepted_2'] == 0


def test_labelled_crops_with_few_labelled_pixels_or_none():
    model = build(threshold=0.4).train()
    inputs, samples = batch()
    model.set_iteration(5, 10)
    model.student.eval()
    for sample in samples[::2]:
        sample.gt_sem_seg.data[:] = 255
    losses = model(inputs, samples, mode='loss')
    assert losses['decode.loss_ce'] == 0 and losses['loss_unlabelled'].isfinite()
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    gradients = [parameter.grad for parameter in model.student.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)
    samples[2].gt_sem_seg.data[0, 5, 7] = 2
    with torch.no_grad():
        logits = F.interpolate(model.student(inputs[2:3]), (SIZE, SIZE), mode='bilinear')
    expected = -logits[0, :, 5, 7].log_softmax(0)[2].item()
    assert model(inputs, samples, mode='loss')['decode.loss_ce'].item() == pytest.approx(expected, rel=1e-5)


def test_padding_teaches_nothing():
    model = build(threshold=0.01, ramp_up=0, strong=dict(cutmix=0)).train()
    inputs, samples = batch()
    model.set_iteration(1, 10)
    valid = torch.ones(1, SIZE, SIZE, dtype=torch.bool)
    valid[:, 16:] = False
    for sample in samples[1::2]:
        sample.valid = type(sample.gt_sem_seg)(data=valid)
    whole = model(inputs, samples, mode='loss')
    assert whole['accepted'] == 1
    model.threshold = 0.999999
    assert model(inputs, samples, mode='loss')['loss_unlabelled'] == 0


def test_thresholds_of_classes_are_saved():
    model = build(adaptive=True, threshold=0.5).train()
    inputs, samples = batch()
    model.set_iteration(1, 10)
    model(inputs, samples, mode='loss')
    model.update_teacher()
    saved = model.state_dict()['class_thresholds.confidence']
    assert (saved > 0).any() and (saved <= 1).all()


def test_teacher_or_student_predicts():
    inputs, _ = batch()
    teacher, student = build().eval(), build(predict_with='student').eval()
    for model in (teacher, student):
        with torch.no_grad():
            model.student.decode_head.conv_seg.bias.add_(torch.tensor([0.0, 50.0, 0.0]))
    assert (student(inputs, mode='predict')[0].pred_sem_seg.data == 1).all()
    assert not (teacher(inputs, mode='predict')[0].pred_sem_seg.data == 1).all()
    assert torch.equal(student(inputs), student.student(inputs)) and teacher.deployed() is teacher.teacher


def test_the_choice_is_saved_with_the_weights():
    model, explicit, later = build(), build(predict_with='teacher'), build()
    assert model.chosen == 'teacher'
    for one in (model, explicit):
        one.choose('student')
    assert model.predictor is model.deployed() is model.student and explicit.chosen == 'teacher'
    later.load_state_dict(model.state_dict())
    assert later.chosen == 'student'
    earlier = {name: value for name, value in model.state_dict().items() if name != 'student_is_better'}
    later.load_state_dict(earlier)  # saved before there was a choice
    assert later.chosen == 'teacher'


def test_predictions_of_either_leave_the_batch_as_it_is():
    inputs, samples = batch()
    for sample in samples:
        sample.set_metainfo(dict(ori_shape=(SIZE, SIZE)))
    model = build().eval()
    with torch.no_grad():
        model.student.decode_head.conv_seg.bias.add_(torch.tensor([0.0, 50.0, 0.0]))
    data = dict(inputs=list(inputs.mul(60).add(120).clamp(0, 255).byte()), data_samples=samples)
    of_student, of_teacher = (torch.stack([one.pred_sem_seg.data for one in model.predictions(part, data)])
                              for part in ('student', 'teacher'))
    assert (of_student == 1).all() and not (of_teacher == 1).all()
    assert all('pred_sem_seg' not in one for one in samples)
    expected = [one.pred_sem_seg.data for one in model.val_step(data)]
    assert torch.equal(of_teacher, torch.stack(expected))


def test_weights_of_a_supervised_run_start_both():
    model, alone = build(), build()
    alone.student.decode_head.conv_seg.bias.data.fill_(3)
    model.load_state_dict(alone.student.state_dict())
    assert all((part.decode_head.conv_seg.bias == 3).all() for part in (model.student, model.teacher))
    model.load_state_dict(alone.state_dict())  # and its own


@pytest.mark.parametrize(('options', 'says'), [
    (dict(threshold=1.0), r'model.threshold is 1.0: a probability above 0 and below 1'),
    (dict(threshold=0), 'model.threshold is 0'),
    (dict(weight=1.5), 'model.weight of the unlabelled loss is 1.5: above 0 and at most 1'),
    (dict(momentum=1.0), 'model.ramp_up=0.1 must be a share of the run'),
    (dict(predict_with='both'), "predict_with must be 'auto', 'teacher' or 'student', got 'both'"),
    (dict(feature_dropout=1.0), 'model.feature_dropout is 1.0: a share of the channels above 0 and below 1'),
    (dict(strong=dict(blur=2)), 'grey=0.2 and blur=2 are shares'),
    (dict(strong=dict(sigma=(0, 1))), 'model.strong.sigma'),
    (dict(edge_trust=dict(width=0)), 'model.edge_trust.width is 0'),
    (dict(edge_trust=dict(operator='prewitt')), 'prewitt'),
    (dict(data_preprocessor=dict(type='egmim_mm.TilePreprocessor', augmentation=dict(cutmix=0.5))),
     'data_preprocessor.augmentation would mix'),
])
def test_bad_settings(options, says):
    with pytest.raises(ValueError, match=says):
        build(**options)


def test_bad_batches():
    model = build().train()
    inputs, samples = batch()
    with pytest.raises(RuntimeError, match='egmim_mm.MeanTeacherHook'):
        model(inputs, samples, mode='loss')
    model.set_iteration(0, 10)
    for part, kind in ((slice(0, None, 2), 'unlabelled'), (slice(1, None, 2), 'labelled')):
        with pytest.raises(ValueError, match=f'the batch has no {kind} image: set .*MixedLabelBudgetSampler'):
            model(inputs[part], samples[part], mode='loss')


def test_edges_weigh_pseudo_labels():
    model = build(threshold=0.01, edge_trust=dict(width=2, operator='sobel')).train()
    flat = torch.full((1, 3, SIZE, SIZE), 100.0)
    valid = torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE))).float()
    labels, weights = model.pseudo_labels(noise, flat, valid)
    near = boundary_weights(labels, torch.zeros(1, 1, SIZE, SIZE), 2) == 0
    assert near.any() and (weights[near] == 0).all() and (weights[~near] == 1).all()


def test_a_cascade_is_a_student():
    first = config().decode_head
    second = dict(type='OCRHead', in_channels=8, in_index=0, channels=4, ocr_channels=4, num_classes=3,
                  norm_cfg=dict(type='BN'), loss_decode=dict(type='CrossEntropyLoss'))
    model = build(student='CascadeEncoderDecoder', num_stages=2, decode_head=[first, second], threshold=0.34).train()
    model.set_iteration(5, 10)
    losses = model(*batch(), mode='loss')
    assert {'decode_0.loss_ce', 'decode_1.loss_ce', 'loss_unlabelled'} <= losses.keys()
    check_heads(Config(dict(model=config(student='CascadeEncoderDecoder', num_stages=2, decode_head=[first, first]))))
    images = batch()[0]
    model.eval()
    assert torch.equal(decoded(model.student, model.student.extract_feat(images)), model.student(images))
