"""Padding of small tiles: marked by the crop, turned along with the image, no edge, never hidden, in no target."""
import numpy as np
import pytest
import torch
from egmim_terms import PIXEL, STRUCTURE
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from egmim_mm.datasets import RandomMirror, RandomQuarterTurn, RandomScaledCrop, geometric
from egmim_mm.edges import hog, supported

IMAGES = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5


def padded_sample(height=80, width=112):
    valid = np.zeros((128, 128), bool)
    valid[:height, :width] = True
    sample = DataSample()
    sample.set_field(valid, 'valid')
    return sample


def test_crop_marks_its_padding_and_says_so_once(monkeypatch):
    said = []
    monkeypatch.setattr(geometric, 'print_log', lambda text, logger: said.append(text))
    crop = RandomScaledCrop(64, (0.5, 0.5))
    image = np.full((100, 200, 3), 200, np.uint8)
    for _ in range(2):
        padded = crop(dict(img=image, img_path='a.png'))
        expected = np.zeros((64, 64), bool)
        expected[:50] = True  # 100 px at scale 0.5
        assert padded['valid'].dtype == bool and np.array_equal(padded['valid'], expected)
        assert np.array_equal((padded['img'] == 200).all(2), expected)
    assert len(said) == 1 and said[0].startswith('a.png: 100 x 200 px (height x width) is smaller than a window')
    assert 'valid' not in RandomScaledCrop(64, (1, 1))(dict(img=image)) and len(said) == 1
    # with labels padding is nothing to talk about: it has none
    RandomScaledCrop(64, (0.5, 0.5))(dict(img=image, gt_seg_map=np.zeros((100, 200), np.uint8)))
    assert len(said) == 1


def test_crop_cuts_what_was_not_valid_before():
    image, valid = np.zeros((80, 80, 3), np.uint8), np.ones((80, 80), bool)
    image[:20], valid[:20] = 255, False
    cut = RandomScaledCrop(64, (1, 1))(dict(img=image, valid=valid))
    assert np.array_equal(cut['valid'], (cut['img'] == 0).all(2))


def test_mask_moves_with_its_image(monkeypatch):
    valid = np.random.default_rng(0).random((6, 6)) < 0.5
    for direction in ('horizontal', 'vertical', 'diagonal'):
        for turns in range(4):
            monkeypatch.setattr(np.random, 'randint', lambda *a, t=turns: t)
            moved = dict(img=valid.astype(np.uint8)[..., None].repeat(3, 2), valid=valid)
            moved = RandomQuarterTurn()(RandomMirror(prob=1.0, direction=direction)(moved))
            assert np.array_equal(moved['valid'], moved['img'][..., 0] == 1)


def test_pixels_of_the_padding_do_not_matter(build, normalized):
    model = build(terms=[PIXEL, STRUCTURE])
    for parameter in model.terms.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    samples, values = [padded_sample() for _ in IMAGES], {}
    valid = torch.from_numpy(samples[0].valid)[None, None].expand(2, -1, -1, -1)
    for grey in (0.0, 0.5):
        inputs = normalized(IMAGES.where(valid, grey), model)
        batch = model.encode(inputs, samples, seed=1)
        assert not batch.edge[:, :, 74:].any() and not batch.edge[..., 106:].any()  # nor within the filters' reach
        assert batch.edge.amax() == 1
        assert batch.mask.flatten(1).sum(1).tolist() == [4 * 64] * 2  # 60 % of 2 x 3 squares of 32 px
        assert not batch.mask[:, 16:].any() and not batch.mask[..., 24:].any()
        prediction = torch.ones(2, 10, 32, 32)
        values[grey] = {**model.terms['structure'].losses(prediction, batch),
                        **model.terms['pixel'].losses(torch.zeros_like(inputs), batch)}
    for name in ('pixel', 'edge', 'hog'):
        assert values[0.0][name].item() == pytest.approx(values[0.5][name].item(), rel=1e-6), name


def test_cells_at_the_seam_are_no_target(build, normalized):
    model = build(terms=[PIXEL, STRUCTURE])
    sample = padded_sample(64, 128)  # whole squares hold data, so the cells at the seam are hidden
    inputs = normalized(IMAGES[:1], model)
    batch = model.encode(inputs, [sample], seed=0)
    batch.mask = torch.zeros_like(batch.mask)
    batch.mask[:, 8:16] = True  # 32..64 px
    got = model.terms['structure'].losses(torch.zeros(1, 10, 32, 32), batch)
    known = supported(torch.from_numpy(sample.valid)[None, None])[0, 0]
    rows = [row for row in range(32, 64) if known[row].all()]
    assert rows == list(range(32, 57))  # 7 px: 6 of the Gaussian, 1 of Sobel
    strength = F.avg_pool2d(batch.edge, 4)[0, 0, 8:14]  # the last whole token ends at 56 px
    expected = F.smooth_l1_loss(torch.zeros_like(strength), strength, beta=0.1)
    assert got['edge'].item() == pytest.approx(expected.item(), rel=1e-5)
    cells = hog(batch.images)[:, :, 4:7]
    assert got['hog'].item() == pytest.approx(cells.square().mean().item(), rel=1e-5)


def test_augmentation_of_batches_moves_the_mask(build):
    model = build(data_preprocessor=dict(type='egmim_mm.BandDataPreprocessor', mean=[0] * 3, std=[1] * 3,
                                         augmentation=dict()))
    pack = PackInputs(algorithm_keys=['valid', 'sample_seed'])
    crops = [RandomScaledCrop(64, (1, 1))(dict(img=np.full((40, 64, 3), 9, np.uint8), sample_seed=seed))
             for seed in range(8)]
    packed = [pack(crop) for crop in crops]
    pixels = torch.stack([one['inputs'] for one in packed])
    data = model.data_preprocessor(dict(inputs=pixels, data_samples=[one['data_samples'] for one in packed]), True)
    valid = model.valid(**data)
    assert torch.equal(valid, data['inputs'][:, :1] == 9)
    assert len({tuple(one.flatten().tolist()) for one in valid}) == 4
