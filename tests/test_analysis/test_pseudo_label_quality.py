"""Pseudo-labels against masks, by values worked out by hand."""
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from egmim_mm.analysis.pseudo_label_quality import label_tile, pseudo_label_counts, pseudo_label_scores
from egmim_mm.engine.readout_fitting import normalised
from egmim_mm.registry import MODELS


def test_scores_of_a_tile_that_is_counted_by_hand():
    target = np.zeros((8, 20), np.uint8)
    target[:, 10:] = 1  # a boundary between columns 9 and 10: columns 7 to 12 are near it
    target[0] = 255
    labels = np.zeros((8, 20), np.int64)
    labels[:, 12:] = 1  # columns 10 and 11 are wrong
    labels[1, 0] = 2  # and this pixel
    accepted = np.zeros((8, 20), bool)
    accepted[:, :6], accepted[:, 11:14] = True, True  # column 11 is wrong and accepted
    counts = pseudo_label_counts(labels, accepted, target, 3)
    assert counts.shape == (2, 3, 2, 3) and counts.sum() == 7 * 20 and counts[0].sum() == 7 * 6
    scores = pseudo_label_scores(counts, ('a', 'b', 'c'))
    assert scores['coverage'] == pytest.approx(100 * 9 / 20)
    assert scores['accepted_accuracy'] == pytest.approx(100 * (63 - 7 - 1) / 63)
    assert scores['accuracy'] == pytest.approx(100 * (140 - 14 - 1) / 140)
    assert scores['boundary_coverage'] == pytest.approx(100 * 2 / 6)
    assert scores['boundary_accepted_accuracy'] == pytest.approx(50)
    assert scores['boundary_accuracy'] == pytest.approx(100 * 4 / 6)
    assert scores['mIoU'] == pytest.approx(100 * np.mean([69 / 84, 56 / 70, 0]))
    first, second, third = scores['classes'].values()
    assert first == dict(coverage=pytest.approx(60), accepted_accuracy=pytest.approx(100 * 41 / 48),
                         accepted_share=pytest.approx(100 * 48 / 63))
    assert second == dict(coverage=pytest.approx(30), accepted_accuracy=100,
                          accepted_share=pytest.approx(100 * 14 / 63))
    assert np.isnan(third['coverage']) and third['accepted_accuracy'] == 0


def test_nothing_accepted_is_no_number():
    target = np.zeros((4, 4), np.uint8)
    scores = pseudo_label_scores(pseudo_label_counts(np.zeros((4, 4), np.int64), np.zeros((4, 4), bool), target, 2),
                                 ('a', 'b'))
    assert scores['coverage'] == 0 and np.isnan(scores['accepted_accuracy']) and scores['accuracy'] == 100
    assert np.isnan(scores['boundary_accuracy'])


def test_boundaries_are_those_of_the_full_mask():
    target, full = np.zeros((6, 12), np.uint8), np.zeros((6, 12), np.uint8)
    full[:, 6:] = 1
    target[:, 6:] = 255
    near = pseudo_label_counts(np.zeros((6, 12), np.int64), np.ones((6, 12), bool), target, 2, full)[0]
    assert near.sum() == 6 * 3


def test_a_tile_is_labelled_as_the_model_labels_its_windows():
    head = dict(type='FCNHead', in_channels=8, in_index=0, channels=4, num_convs=1, concat_input=False, num_classes=3,
                norm_cfg=dict(type='BN'))
    backbone = dict(type='egmim_mm.MaskedSwinTransformer', img_size=32, window_size=2, out_indices=(0, ),
                    arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4]), use_mask_token=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(ConfigDict(
            type='egmim_mm.MeanTeacherSegmentor', student='EncoderDecoder', backbone=backbone, decode_head=head,
            adaptive=True, threshold=0.4, edge_trust=dict(width=1), train_cfg=dict(), test_cfg=dict(mode='whole'),
            data_preprocessor=dict(type='egmim_mm.TilePreprocessor', mean=[120.0] * 3, std=[60.0] * 3, size=(32, 32),
                                   bgr_to_rgb=True))).eval()
    model.class_thresholds.confidence.copy_(torch.tensor([0.4, 0.35, 0.3]))
    with torch.no_grad():
        model.student.decode_head.conv_seg.bias.add_(torch.tensor([0.0, 5.0, 0.0]))
    before = model.class_thresholds.confidence.clone()
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    labels, accepted, student = label_tile(model, image, 32, batch=3)
    inputs = normalised(model, image)[:, :, 8:, 32:]  # the last window
    valid = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    expected, weights = model.pseudo_labels(inputs, inputs * 60 + 120, valid)
    assert (labels[8:, 32:] == expected[0, 0].numpy()).all() and len(np.unique(labels)) > 1
    assert (accepted[8:, 32:] == (weights[0, 0] > 0).numpy()).all() and 0 < accepted.mean() < 1
    assert (student == 1).all() and labels.shape == student.shape == (40, 64)
    assert torch.equal(model.class_thresholds.confidence, before)
