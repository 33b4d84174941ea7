"""Our heads and data preprocessor of segmentation against MMSegmentation's: same weights, values and gradients."""
from copy import deepcopy

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models.losses import accuracy
from mmseg.structures import SegDataSample

from egmim_mm.models.segmentation_heads import pixel_accuracy

COMMON = dict(channels=8, num_classes=3, norm_cfg=dict(type='BN'), dropout_ratio=0.1)
HEADS = dict(
    UPerHead=dict(in_index=[0, 1, 2, 3], in_channels=[4, 8, 16, 32], **COMMON),
    FCNHead=dict(in_index=2, in_channels=16, num_convs=1, concat_input=False, **COMMON))


@pytest.fixture
def features():
    """Four maps of two images, channels last in memory, as our backbones return them."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 16 >> i, 16 >> i, 4 << i, generator=generator).permute(0, 3, 1, 2) for i in range(4)]


def samples(size=64, seed=0):
    labels = torch.randint(0, 3, (2, 1, size, size), generator=torch.Generator().manual_seed(seed))
    labels[:, :, : size // 4] = 255
    made = []
    for label in labels:
        made.append(SegDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size))))
        made[-1].gt_sem_seg = PixelData(data=label)
    return made


def pair(name, **options):
    """(ours, MMSegmentation's) with the same weights."""
    init_default_scope('mmseg')
    import mmseg.models  # noqa: F401  the heads register themselves

    torch.manual_seed(0)
    ours, theirs = (ROOT.build(dict(HEADS[name], type=scope + name, **options)) for scope in ('egmim_mm.', 'mmseg.'))
    theirs.load_state_dict(ours.state_dict())
    return ours.train(), theirs.train()


def losses(head, features, batch):
    torch.manual_seed(5)  # of dropout
    maps = [x.detach().clone().requires_grad_() for x in features]
    values = head.loss(maps, batch, {})
    sum(value for name, value in values.items() if name.startswith('loss')).backward()
    return values, [x.grad for x in maps if x.grad is not None]


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('options', [
    dict(), dict(align_corners=True), dict(ignore_index=0), dict(dropout_ratio=0.0),
    dict(loss_decode=[dict(type='CrossEntropyLoss'), dict(type='CrossEntropyLoss', loss_weight=0.5),
                      dict(type='DiceLoss', loss_name='loss_dice')]),
    dict(sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100))
], ids=['plain', 'align_corners', 'ignore_index', 'no dropout', 'several losses', 'sampler'])
def test_heads_equal_mmsegmentations(name, options, features):
    batch = samples()
    for sample in batch if 'ignore_index' in options else ():
        sample.gt_sem_seg.data[sample.gt_sem_seg.data == 255] = options['ignore_index']
    ours, theirs = pair(name, **options)
    (values, gradients), (expected, expected_gradients) = (losses(head, features, batch) for head in (ours, theirs))
    assert values.keys() == expected.keys() and 'acc_seg' in values
    assert values['acc_seg'].shape == expected['acc_seg'].shape and 0 < values['acc_seg'].item() < 100
    for key, value in values.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-6)
    for (key, mine), other in zip(ours.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5, msg=key)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours.forward(features), theirs.forward(features), rtol=1e-4, atol=1e-5)


def test_uper_head_keeps_channels_last(features):
    """On the stock head the layout is lost at the pyramid pooling, and convolutions and resizings get slower."""
    ours, theirs = pair('UPerHead')
    layouts = {}
    for key, head in (('ours', ours), ('theirs', theirs)):
        seen = layouts[key] = []
        for conv in (head.bottleneck, *head.fpn_convs, head.fpn_bottleneck):
            conv.register_forward_hook(lambda m, args, out, seen=seen: seen.append(
                [x.is_contiguous(memory_format=torch.channels_last) for x in (args[0], out)]))
        head.forward([x.requires_grad_() for x in features])
    assert layouts['ours'] == [[True, True]] * 5
    assert [False, False] in layouts['theirs']


def whole_gradients(out):
    """How many of the resizings below ``out`` get a gradient that is no part of a larger one."""
    seen, met = [], set()

    def walk(node):
        if node is None or node in met:
            return
        met.add(node)
        if node.name().startswith('UpsampleBilinear2D'):
            node.register_prehook(lambda grads: seen.append(
                grads[0].is_contiguous(memory_format=torch.channels_last)))
        for below, _ in node.next_functions:
            walk(below)

    walk(out.grad_fn)
    out.sum().backward()
    return sum(seen), len(seen)


def test_gradients_of_resized_maps_are_whole(features):
    ours, theirs = (whole_gradients(head.forward([x.detach().clone().requires_grad_() for x in features]))
                    for head in pair('UPerHead'))
    # 4 pooled maps, 3 on the way down, 3 that are put side by side
    assert ours[1] == theirs[1] == 10
    assert ours[0] >= 6 and theirs[0] <= 3


@pytest.mark.parametrize('ignore_index', [255, None, 1])
@pytest.mark.parametrize('classes', [1, 2, 5])
def test_accuracy_equals_mmsegmentations(ignore_index, classes):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(2, classes, 9, 7, generator=generator)
    labels = torch.randint(0, max(classes, 2), (2, 9, 7), generator=generator)
    if ignore_index == 255:
        labels[:, :3] = 255
    mine = pixel_accuracy(logits, labels, ignore_index)
    torch.testing.assert_close(mine, accuracy(logits, labels, ignore_index=ignore_index))
    nothing = torch.full_like(labels, 255)
    if ignore_index == 255:
        assert pixel_accuracy(logits, nothing).item() == accuracy(logits, nothing, ignore_index=255).item() == 100


PREPROCESSOR = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_val=0,
                    seg_pad_val=255)


def preprocessed(kind, options, images, batch, training=True):
    init_default_scope('mmseg')
    preprocessor = ROOT.build(dict(PREPROCESSOR, type=kind) | options)
    return preprocessor(dict(inputs=images, data_samples=deepcopy(batch)), training)


@pytest.mark.parametrize('options, unequal', [
    (dict(size=(64, 64)), False), (dict(size=(80, 96)), False), (dict(size=(80, 96)), True),
    (dict(size=(32, 32)), False), (dict(size_divisor=32), False), (dict(size_divisor=48), False),
    (dict(size_divisor=48), True), (dict(size=(64, 64), bgr_to_rgb=False), False),
    (dict(size=(64, 64), mean=None, std=None), False)
], ids=str)
def test_preprocessor_equals_mmsegmentations(options, unequal):
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(2)]
    batch = samples()
    if unequal:
        images[1] = images[1][:, :48].contiguous()
        batch[1].gt_sem_seg = PixelData(data=batch[1].gt_sem_seg.data[:, :48])
    ours, theirs = (preprocessed(kind, options, images, batch) for kind in (
        'egmim_mm.TilePreprocessor', 'mmseg.SegDataPreProcessor'))
    assert torch.equal(ours['inputs'], theirs['inputs'])
    for mine, other in zip(ours['data_samples'], theirs['data_samples'], strict=True):
        assert torch.equal(mine.gt_sem_seg.data, other.gt_sem_seg.data)
        assert mine.metainfo.keys() == other.metainfo.keys()
        assert all(tuple(mine.metainfo[k]) == tuple(other.metainfo[k]) for k in other.metainfo)


def test_preprocessor_takes_a_tensor_and_leaves_prediction_to_mmsegmentation():
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    kinds = 'egmim_mm.TilePreprocessor', 'mmseg.SegDataPreProcessor'
    whole = preprocessed(kinds[0], dict(size=(64, 64)), images, samples())
    assert torch.equal(whole['inputs'], preprocessed(kinds[1], dict(size=(64, 64)), list(images), samples())['inputs'])
    shown = [preprocessed(kind, dict(size=(64, 64), test_cfg=dict(size_divisor=48)), list(images), samples(), False)
             for kind in kinds]
    assert shown[0]['inputs'].shape == (2, 3, 96, 96) and torch.equal(shown[0]['inputs'], shown[1]['inputs'])
    with pytest.raises(AssertionError, match='only one of size and size_divisor should be valid'):
        preprocessed(kinds[0], dict(), images, samples())
