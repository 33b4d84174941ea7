"""TilePreprocessor gives what mmseg's preprocessor gives; augmentation of batches follows the samples."""
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from egmim_mm.datasets import PackTiles, stack_tiles
from egmim_mm.models import BandDataPreprocessor, BatchAugmentation, TilePreprocessor

OPTIONS = dict(mean=[120.0, 110.0, 100.0], std=[58.0, 57.0, 56.0], bgr_to_rgb=True, pad_val=0, seg_pad_val=255)


def batch(sizes, dtype=torch.uint8, seeds=True):
    rng = np.random.default_rng(0)
    inputs, samples = [], []
    for index, size in enumerate(sizes):
        inputs.append(torch.from_numpy(rng.integers(0, 256, (3, *size), np.uint8)))
        sample = SegDataSample(metainfo=dict(sample_seed=index + 7) if seeds else {})
        labels = rng.integers(0, 5, (1, *size), np.uint8)
        labels[:, :3] = 255
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels).to(dtype))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


@pytest.mark.parametrize('sizes', [[(16, 16)] * 3, [(16, 16), (12, 16)], [(8, 8)]])
def test_bytes_become_what_mmseg_makes_of_int64(sizes):
    ours, stock = (kind(size=(16, 16), **OPTIONS)(batch(sizes, dtype), training=True) for kind, dtype in (
        (TilePreprocessor, torch.uint8), (SegDataPreProcessor, torch.int64)))
    assert torch.equal(ours['inputs'], stock['inputs']) and ours['inputs'].dtype == torch.float32
    for one, other in zip(ours['data_samples'], stock['data_samples']):
        assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data) and one.gt_sem_seg.data.dtype == torch.int64
        assert {key: one.metainfo[key] for key in ('img_shape', 'pad_shape', 'padding_size')} == {
            key: other.metainfo[key] for key in ('img_shape', 'pad_shape', 'padding_size')}


def test_outside_training_it_is_mmsegs():
    data = [batch([(16, 20)] * 2) for _ in range(2)]
    data[1]['data_samples'] = None
    preprocessor = TilePreprocessor(size=(16, 16), augmentation=dict(color=True), **OPTIONS)
    stock = SegDataPreProcessor(size=(16, 16), **OPTIONS)
    for one in data:
        assert torch.equal(preprocessor(dict(one))['inputs'], stock(dict(one))['inputs'])


def test_an_image_is_augmented_alike_in_any_batch_and_its_labels_with_it():
    """Labels painted into the image stay on it; each seed has its own draw, and all eight positions occur."""
    data = batch([(16, 16)] * 40)
    for image, sample in zip(data['inputs'], data['data_samples']):
        image[0] = sample.gt_sem_seg.data[0]
    images = torch.stack(data['inputs'])
    labels = torch.stack([sample.gt_sem_seg.data for sample in data['data_samples']])
    seeds = list(range(40))
    augment = BatchAugmentation()
    moved, moved_labels = augment(images, labels, seeds)
    assert torch.equal(moved[:, :1], moved_labels) and moved.dtype == torch.uint8
    alone = torch.cat([augment(images[i:i + 1], None, seeds[i:i + 1])[0] for i in range(40)])
    assert torch.equal(alone, moved)
    positions = [mirrored.rot90(turns, (-2, -1)) for mirrored in (torch.arange(256).view(1, 1, 16, 16),
                                                                  torch.arange(256).view(1, 1, 16, 16).flip(-1))
                 for turns in range(4)]
    found = augment(torch.arange(256).expand(40, 1, 256).reshape(40, 1, 16, 16), None, seeds)[0]
    indices = {next(i for i, position in enumerate(positions) if torch.equal(one, position[0])) for one in found}
    assert indices == set(range(8))
    assert torch.equal(BatchAugmentation(flip=False, turn=False)(images, None, seeds)[0], images)


def test_colours_follow_the_formulas():
    grey = torch.full((40, 3, 4, 4), 100, dtype=torch.uint8)
    seeds = range(40)
    quiet = dict(flip=False, turn=False, color=True)
    only = dict(brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0)
    image = torch.tensor([200.0, 100.0, 60.0]).view(1, 3, 1, 1).expand(40, 3, 4, 4)
    assert torch.allclose(BatchAugmentation(**quiet, **only)(image, None, seeds)[0], image)
    # grey stays grey under any saturation and hue
    turned = BatchAugmentation(**quiet, **only | dict(saturation=(0.5, 1.5), hue=36))
    assert torch.allclose(turned(grey, None, seeds)[0], grey.float(), atol=1e-4)
    # half of the images get the factor; saturation keeps the mean of the bands
    darker = BatchAugmentation(**quiet, **only | dict(contrast=(0.5, 0.5)))(grey, None, seeds)[0]
    assert sorted(darker[:, 0, 0, 0].unique().tolist()) == pytest.approx([50, 100])
    pale = BatchAugmentation(**quiet, **only | dict(saturation=(0.5, 0.5)))(image, None, seeds)[0][:, :, 0, 0]
    assert sorted(pale[:, 0].round().unique().tolist()) == [160, 200]
    assert torch.allclose(pale.mean(1), torch.tensor(120.0))
    # a hue turned by 120 degrees is another order of the bands
    third = BatchAugmentation(**quiet, **only)
    _, colours = third._draw(np.random.default_rng(0))
    assert np.allclose(colours, np.eye(3, 4))
    bright = BatchAugmentation(**quiet, **only | dict(brightness=1000))(grey, None, seeds)[0]
    assert bright.min() == 0 and bright.max() == 255 and bright.dtype == torch.float32


def test_mixed_samples_take_pixels_and_labels_of_the_next():
    """An image of the value of its labels everywhere: what is taken shows in both."""
    labels = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).repeat(1, 1, 8, 8)
    images = labels.repeat(1, 3, 1, 1)
    quiet, seeds, later = dict(flip=False, turn=False), range(40), labels.roll(-1, 0)
    cut, cut_labels = BatchAugmentation(**quiet, cutmix=1.0)(images, labels, seeds)
    assert torch.equal(cut[:, :1], cut_labels) and bool(((cut_labels == labels) | (cut_labels == later)).all())
    taken = (cut_labels == later)[:, 0]
    boxes = taken.any(2)[:, :, None] & taken.any(1)[:, None]  # what rows and columns span
    assert torch.equal(boxes, taken) and 0.4 < taken.float().mean() < 0.6
    assert not taken.flatten(1).all(1).all() and taken.flatten(1).any(1).float().mean() > 0.8
    half, _ = BatchAugmentation(**quiet, cutmix=0.5)(images, labels, seeds)
    assert 0.3 < (half == images).flatten(1).all(1).float().mean() < 0.7

    # the next sample has columns of three classes and one without labels; the first is all of class 9
    kinds = torch.tensor([[9, 9, 9, 9], [0, 1, 2, 255]], dtype=torch.uint8).view(2, 1, 1, 4).repeat(1, 1, 4, 1)
    pictures = kinds.repeat(1, 3, 1, 1)
    choices = set()
    for seed in range(60):
        mixed, mixed_labels = BatchAugmentation(**quiet, classmix=1.0)(pictures, kinds, [seed, 0])
        rows = mixed_labels[0, 0]
        assert torch.equal(mixed[0], rows.expand(3, 4, 4)) and torch.equal(rows, rows[:1].expand(4, 4))
        choices.add(tuple(rows[0].tolist()))
    assert choices == {(a, b, c, 9) for a in (9, 0) for b in (9, 1) for c in (9, 2)}
    with pytest.raises(ValueError, match='are for labelled images'):
        BatchAugmentation(cutmix=0.5)(images, None, seeds)
    with pytest.raises(ValueError, match='together at most 1; got 0.6 and 0.6'):
        BatchAugmentation(cutmix=0.6, classmix=0.6)


def test_preprocessors_augment_in_training_alone_and_say_what_they_cannot():
    data = batch([(16, 16)] * 4)
    images = torch.stack(data['inputs'])
    samples = data['data_samples']
    bands = BandDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3, augmentation={})
    wanted = BatchAugmentation()(images, None, [7, 8, 9, 10])[0].float()
    assert torch.equal(bands(dict(inputs=images, data_samples=samples), training=True)['inputs'], wanted)
    assert torch.equal(bands(dict(inputs=images, data_samples=samples))['inputs'], images.float())
    tiles = TilePreprocessor(size=(16, 16), augmentation={}, mean=[0.0] * 3, std=[1.0] * 3)
    assert torch.equal(tiles(dict(data), training=True)['inputs'], wanted)
    with pytest.raises(ValueError, match='labelled crops of data_preprocessor.size'):
        tiles(batch([(12, 16)] * 2), training=True)
    with pytest.raises(ValueError, match='needs the seeds of samples'):
        tiles(batch([(16, 16)], seeds=False), training=True)
    with pytest.raises(ValueError, match='cannot be turned'):
        BatchAugmentation()(images[..., :8], None, range(4))
    with pytest.raises(ValueError, match='three bands, the images have 2'):
        BatchAugmentation(color=True)(images[:, :2], None, range(4))


def test_labels_are_packed_as_bytes_and_can_be_pinned(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.rot90(rng.integers(0, 5, (9, 9), np.uint8))
    labels.flags.writeable = False  # as from the cache
    packed = PackTiles().transform(dict(img=np.rot90(rng.integers(0, 256, (9, 9, 3), np.uint8)), gt_seg_map=labels,
                                        img_shape=(9, 9)))
    data = packed['data_samples'].gt_sem_seg.data
    assert data.dtype == torch.uint8 and torch.equal(data[0], torch.from_numpy(labels.copy()))
    assert packed['data_samples'].img_shape == (9, 9) and packed['inputs'].shape == (3, 9, 9)
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor: tensor + 1)  # there may be no GPU
    assert torch.equal(packed['data_samples'].pin_memory().gt_sem_seg.data, data + 1)
    assert 'gt_sem_seg' not in PackTiles().transform(dict(img=np.zeros((4, 4, 3), np.uint8)))['data_samples']


def test_a_batch_is_two_tensors_and_the_model_gets_the_same():
    data = batch([(16, 16)] * 3)
    samples = [dict(inputs=image, data_samples=sample.clone()) for image, sample in zip(data['inputs'],
                                                                                        data['data_samples'])]
    stacked = stack_tiles(samples)
    assert stacked['inputs'].shape == (3, 3, 16, 16)
    labels = [sample.gt_sem_seg.data for sample in stacked['data_samples']]
    assert len({one.untyped_storage().data_ptr() for one in labels}) == 1
    preprocessor = TilePreprocessor(size=(16, 16), **OPTIONS)
    ours, plain = (preprocessor(one, training=True) for one in (stacked, batch([(16, 16)] * 3)))
    assert torch.equal(ours['inputs'], plain['inputs'])
    assert all(torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data)
               for one, other in zip(ours['data_samples'], plain['data_samples']))
    unequal = stack_tiles([samples[0], dict(inputs=torch.zeros(3, 8, 8), data_samples=SegDataSample())])
    assert [image.shape[-1] for image in unequal['inputs']] == [16, 8]
