"""Transforms: values, alignment of image and mask, and the cache."""
import numpy as np
import pytest
from PIL import Image

from egmim_mm.datasets import LoadTile, LoadTileMask, RandomQuarterTurn, RandomScaledCrop
from egmim_mm.storage.mask_values import MaskValues
from egmim_mm.storage.tile_reading import TileReadError

RAINBOW = np.array([[[200, 10, 10], [10, 200, 10]]], np.uint8)


@pytest.fixture
def blocks():
    """A mask of 24-px blocks of random classes 0..3 and an image that is 60 x class in every channel."""
    seg = np.random.default_rng(0).integers(0, 4, (12, 10)).astype(np.uint8)
    seg = seg.repeat(24, axis=0).repeat(24, axis=1)
    return dict(img=(seg * 60)[..., None].repeat(3, axis=2), gt_seg_map=seg)


def test_load_gives_bgr_without_turning(tmp_path, write_image):
    path = write_image(tmp_path / 'a.png', RAINBOW)
    results = LoadTile()(dict(img_path=path))
    assert results['img'].tolist() == [[[10, 10, 200], [10, 200, 10]]]
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == results['ori_shape'] == (1, 2)

    tags = Image.Exif()
    tags[0x0112] = 6  # orientation "turn by 90 degrees", which masks cannot say
    path = write_image(tmp_path / 'b.jpg', RAINBOW, exif=tags)
    assert LoadTile()(dict(img_path=path))['img'].shape == (1, 2, 3)


@pytest.mark.parametrize('array', [np.full((4, 5), 7, np.uint8), np.full((4, 5, 4), 7, np.uint8)])
def test_grey_and_alpha_become_three_channels(tmp_path, write_image, array):
    image = LoadTile()(dict(img_path=write_image(tmp_path / 'a.png', array)))['img']
    assert image.shape == (4, 5, 3) and (image == 7).all()


def test_missing_file(tmp_path):
    with pytest.raises(TileReadError, match='nowhere.png: cannot be read'):
        LoadTile()(dict(img_path=str(tmp_path / 'nowhere.png')))


def test_the_cache_is_bounded_and_safe(tmp_path, write_image):
    paths = [write_image(tmp_path / f'{i}.png', np.full((256, 256, 3), i, np.uint8)) for i in range(3)]
    load = LoadTile(cache_mb=0.4)  # two tiles of 0.19 MiB
    first = [load(dict(img_path=path))['img'] for path in paths]
    for i, path in enumerate(paths):
        write_image(path, np.full((256, 256, 3), 99, np.uint8))
        again = load(dict(img_path=path))['img']
        assert (again is first[i]) == (i < 2)
        assert (again == (i if i < 2 else 99)).all()
    with pytest.raises(ValueError, match='read-only'):
        first[0][:] = 1


def test_the_mask_cache(tmp_path, write_image):
    path = write_image(tmp_path / 'm.png', np.full((8, 8), 2, np.uint8))
    sample = dict(seg_map_path=path, mask_table=MaskValues('index', (0, 1, 2)), seg_fields=[])
    load = LoadTileMask(cache_mb=1)
    first = load(dict(sample))['gt_seg_map']
    assert (first == 2).all() and load(dict(sample))['gt_seg_map'] is first
    assert sample['seg_fields'] == []  # the data set's list is not changed


@pytest.mark.parametrize('scale', [0.5, 0.73, 1.0, 1.4, 2.0])
def test_crop_keeps_image_and_mask_aligned(blocks, scale):
    crop = RandomScaledCrop((64, 48), scale_range=(scale, scale), cat_max_ratio=1)
    for seed in range(5):
        np.random.seed(seed)
        results = crop(dict(blocks))
        image, seg = results['img'], results['gt_seg_map']
        assert image.shape == (64, 48, 3) and seg.shape == (64, 48) and results['img_shape'] == (64, 48)
        assert set(np.unique(seg)) <= {0, 1, 2, 3}
        # Interpolation mixes classes on the block borders alone: their length grows as the scale shrinks.
        exact = (image[..., 0] == seg * 60).mean()
        assert exact > 1 - 0.16 / min(scale, 1)
        assert results['scale_factor'] == pytest.approx((scale, scale), rel=0.02)


def test_crop_without_scaling_is_a_window_of_the_tile(blocks):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (100, 90, 3)).astype(np.uint8)
    results = RandomScaledCrop(32, (1, 1), cat_max_ratio=1)(dict(img=image))
    windows = np.lib.stride_tricks.sliding_window_view(image, (32, 32, 3))[:, :, 0]
    assert (windows == results['img']).all(axis=(2, 3, 4)).sum() == 1
    results['img'][:] = 0  # a copy: the tile stays as it is
    assert image.any()


def test_all_windows_can_be_drawn():
    image = np.arange(9 * 7, dtype=np.uint8).reshape(9, 7)[..., None].repeat(3, axis=2)
    crop = RandomScaledCrop((8, 6), (1, 1))
    np.random.seed(0)
    assert {int(crop(dict(img=image))['img'][0, 0, 0]) for _ in range(60)} == {0, 1, 7, 8}


def test_a_small_tile_is_padded_and_its_padding_ignored():
    results = RandomScaledCrop(64, (2, 2), cat_max_ratio=1)(
        dict(img=np.full((20, 100, 3), 200, np.uint8), gt_seg_map=np.ones((20, 100), np.uint8)))
    assert (results['gt_seg_map'][:40] == 1).all() and (results['gt_seg_map'][40:] == 255).all()
    assert (results['img'][:40] == 200).all() and (results['img'][40:] == (104, 116, 124)).all()


def test_one_class_windows_are_avoided():
    seg = np.zeros((200, 200), np.uint8)
    seg[80:120, 80:120] = 1
    image = np.zeros((200, 200, 3), np.uint8)
    np.random.seed(0)

    def share(ratio):
        crop = RandomScaledCrop(48, (1, 1), cat_max_ratio=ratio)
        return np.mean([crop(dict(img=image, gt_seg_map=seg))['gt_seg_map'].any() for _ in range(100)])

    assert share(1) < 0.45 and share(0.75) > 0.6


def test_windows_without_labels_are_avoided():
    seg = np.full((64, 200), 255, np.uint8)
    seg[:, :60] = np.arange(60) // 10 % 3
    np.random.seed(0)
    crop = RandomScaledCrop(32, (1, 1), cat_max_ratio=0.99)
    labelled = [(crop(dict(img=np.zeros((64, 200, 3), np.uint8), gt_seg_map=seg))['gt_seg_map'] < 255).any()
                for _ in range(100)]
    assert np.mean(labelled) > 0.9


@pytest.fixture
def clicked():
    """400 x 400 px, of which 12 single ones are labelled, all with odd rows and columns."""
    seg = np.full((400, 400), 255, np.uint8)
    rng = np.random.default_rng(0)
    seg[1 + 2 * rng.permutation(199)[:12], 1 + 2 * rng.permutation(199)[:12]] = np.arange(12) % 3
    return dict(img=np.zeros((400, 400, 3), np.uint8), gt_seg_map=seg)


@pytest.mark.parametrize('options', [
    dict(), dict(cat_max_ratio=1), dict(class_centred=1.0), dict(scale_range=(0.5, 0.5)),
    dict(scale_range=(0.4, 1.7), class_centred=0.5)
])
def test_every_window_of_clicked_pixels_holds_one(clicked, options):
    np.random.seed(0)
    crop = RandomScaledCrop(48, **dict(dict(scale_range=(1, 1)), **options))
    drawn = [crop(dict(clicked))['gt_seg_map'] for _ in range(100)]
    assert all((one != 255).any() for one in drawn)
    assert {number for one in drawn for number in np.unique(one)} == {0, 1, 2, 255}


def test_shrinking_loses_no_clicked_pixel(clicked):
    crop = RandomScaledCrop(100, (0.25, 0.25))
    shrunk, seg = crop(dict(clicked))['gt_seg_map'], clicked['gt_seg_map']
    rows, columns = np.nonzero(seg != 255)
    assert (shrunk[rows // 4, columns // 4] == seg[rows, columns]).all() and (shrunk != 255).sum() == 12


def test_a_tile_without_labels_ends_the_search():
    blank = np.full((64, 64), 255, np.uint8)
    drawn = RandomScaledCrop(32, (1, 1))(dict(img=blank[..., None].repeat(3, 2), gt_seg_map=blank))
    assert (drawn['gt_seg_map'] == 255).all()


def test_windows_around_classes_hold_all_of_them_equally_often():
    seg = np.zeros((300, 200), np.uint8)
    seg[290:300, 190:200], seg[100:104, 20:24], seg[:, :10] = 1, 2, 255  # 0.2 % of the tile each, one in a corner
    image = seg[..., None].repeat(3, axis=2)
    np.random.seed(0)

    def shares(of_windows):
        crop = RandomScaledCrop(32, (1, 1), cat_max_ratio=1, class_centred=of_windows)
        drawn = [crop(dict(img=image, gt_seg_map=seg))['gt_seg_map'] for _ in range(300)]
        assert {one.shape for one in drawn} == {(32, 32)}
        return [np.mean([(one == kind).any() for one in drawn]) for kind in (0, 1, 2)]

    assert shares(1.0)[1:] == pytest.approx([1 / 3, 1 / 3], abs=0.08)
    assert shares(0.5)[1:] == pytest.approx([1 / 6, 1 / 6], abs=0.08)
    assert max(shares(0.0)[1:]) < 0.06
    blank = np.full((64, 64), 255, np.uint8)
    cut = RandomScaledCrop(32, (1, 1), class_centred=1.0)(dict(img=blank[..., None].repeat(3, 2), gt_seg_map=blank))
    assert (cut['gt_seg_map'] == 255).all() and cut['gt_seg_map'].shape == (32, 32)


def test_the_pixel_of_the_class_is_in_the_middle_half():
    seg = np.zeros((200, 200), np.uint8)
    seg[100:102, 100:102] = 1
    crop, found = RandomScaledCrop(40, (1, 1), class_centred=1.0), []
    np.random.seed(0)
    for _ in range(100):
        rows, columns = np.nonzero(crop(dict(img=seg[..., None].repeat(3, 2), gt_seg_map=seg))['gt_seg_map'])
        found += [rows.min(), columns.min()] if len(rows) == 4 and rows.min() in range(10, 31) else []
    assert len(found) > 60 and min(found) >= 0 and np.ptp(found) > 15


@pytest.mark.parametrize('arguments, message', [
    (dict(crop_size=8, class_centred=1.5), 'class_centred 1.5 must be a share'),
    (dict(crop_size=0), 'crop_size'), (dict(crop_size=8, scale_range=(0, 1)), 'scale_range'),
    (dict(crop_size=8, scale_range=(2, 1)), 'scale_range'),
])
def test_bad_crop_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomScaledCrop(**arguments)


def test_quarter_turns_equal_rot90(blocks):
    np.random.seed(0)
    seen = []
    for _ in range(40):
        results = RandomQuarterTurn()(dict(blocks))
        turns = results['quarter_turns']
        seen.append(turns)
        assert (results['img'] == np.rot90(blocks['img'], turns)).all()
        assert (results['gt_seg_map'] == np.rot90(blocks['gt_seg_map'], turns)).all()
        assert results['img_shape'] == results['img'].shape[:2]
    assert set(seen) == {0, 1, 2, 3}
