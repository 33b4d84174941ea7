"""Batches of labelled and unlabelled samples: share, ranks, resuming, and what is refused."""
from itertools import islice

import numpy as np
import pytest

from egmim_mm.datasets import MixedLabelBudgetSampler, SegmentationTiles
from egmim_mm.storage.tile_reading import TileReadError

STEPS = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask'),
         dict(type='egmim_mm.RandomScaledCrop', crop_size=32, scale_range=(1, 1), cat_max_ratio=1),
         dict(type='RandomFlip', prob=0.5), dict(type='egmim_mm.PackTiles')]
UNREADABLE = np.full((40, 40), 200, np.uint8)  # no class: an error as soon as it is read


@pytest.fixture
def tiles(tmp_path, write_image):
    """Function: data set of eight tiles, the last one smaller than a crop; the first two are labelled."""
    rng = np.random.default_rng(0)
    for i in range(8):
        size = 40 if i < 7 else 20
        write_image(tmp_path / f'images/{i}.png', rng.integers(0, 256, (size, size, 3), np.uint8))
        write_image(tmp_path / f'masks/{i}.png', rng.integers(0, 2, (size, size), np.uint8))
        if i < 3:
            write_image(tmp_path / f'other/{i}.png', rng.integers(0, 256, (40, 40, 3), np.uint8))

    def make(**options):
        from mmengine.registry import init_default_scope
        init_default_scope('mmseg')
        return SegmentationTiles(str(tmp_path), img_suffix='.png', metainfo=dict(classes=('a', 'b')),
                                 **dict(dict(pipeline=STEPS), **options))

    return make


def sampler(dataset, rank=0, world_size=1, budget=2, **options):
    made = MixedLabelBudgetSampler(dataset, budget, order_seed=5, strategy='random', **options)
    made.rank, made.world_size = rank, world_size
    return made


def take(made, count):
    return [(int(i), i.seed) for i in islice(made, count)]


@pytest.mark.parametrize(('share', 'pattern'), [(0.5, [1, 0]), (0.25, [1, 0, 0, 0]), (0.6, [1, 1, 1, 0, 0])])
def test_share_of_every_batch(tiles, share, pattern):
    dataset = tiles(unlabeled=dict(data_root=str(tiles().data_root) + '/other'))
    made = sampler(dataset, labelled_share=share)
    drawn = take(made, 40)
    assert [int(i < 8) for i, _ in drawn] == pattern * (40 // len(pattern))
    labelled = {i for i, _ in drawn if i < 8}
    assert labelled == set(made.members) and len(labelled) == 2
    # the six tiles that are left, then three other images
    assert set(made.unlabelled_members) == {8 + i for i in range(8) if i not in labelled} | {16, 17, 18}
    assert made.unlabelled == 9 and {i for i, _ in take(made, 200) if i >= 8} == set(made.unlabelled_members)
    assert set(sampler(dataset, use_rest=False).unlabelled_members) == {16, 17, 18}


def test_two_ranks_together_see_the_batches_of_one(tiles):
    dataset = tiles()
    whole = take(sampler(dataset, labelled_share=0.25), 96)
    ranks = [take(sampler(dataset, rank, 2, labelled_share=0.25), 48) for rank in (0, 1)]
    for step in range(6):  # 16 images over all
        one = set(whole[16 * step:16 * step + 16])
        assert one == {pair for own in ranks for pair in own[8 * step:8 * step + 8]} and len(one) == 16
        # unlabelled ones that one process has side by side, two by two, are so in two processes
        pairs, others = ({tuple(own[i:i + 2]) for own in kinds for i in range(0, len(own), 2)} for kinds in (
            [[pair for pair in own if pair[0] >= 8] for own in batches] for batches in (
                [whole[16 * step:16 * step + 16]], [own[8 * step:8 * step + 8] for own in ranks])))
        assert pairs == others and len(pairs) == 6


@pytest.mark.parametrize('skipped', [0, 3, 4, 9])
def test_it_goes_on_where_it_was(tiles, skipped):
    dataset = tiles()
    whole = take(sampler(dataset, 1, 3, labelled_share=0.5), 30)
    resumed = sampler(dataset, 1, 3, labelled_share=0.5)
    resumed.skip(skipped)
    assert take(resumed, 20) == whole[skipped:skipped + 20]


def test_an_unlabelled_sample_has_no_label_and_a_flag(tiles, tmp_path, write_image):
    dataset = tiles(unlabeled=[dict(data_root=str(tmp_path / 'other'))])
    made = sampler(dataset)
    for number in set(made.unlabelled_members) & set(range(8, 16)):
        write_image(tmp_path / f'masks/{number - 8}.png', UNREADABLE)  # its label is never read
    indices = [index for index in islice(made, 60) if index >= 8]
    for index in indices:
        sample = dataset[index]['data_samples']
        assert sample.metainfo['unlabelled'] and sample.metainfo['sample_seed'] == index.seed
        assert sample.gt_sem_seg.data.shape == (1, 32, 32) and (sample.gt_sem_seg.data == 255).all()
        assert 'seg_map_path' not in sample.metainfo
    assert {int(i) for i in indices} == set(made.unlabelled_members)
    again = [dataset[indices[0]]['inputs'] for _ in range(2)]
    assert (again[0] == again[1]).all()
    labelled = dataset[next(iter(made))]['data_samples']
    assert 'unlabelled' not in labelled.metainfo and (labelled.gt_sem_seg.data < 2).all()


def test_tags_say_which_classes_an_unlabelled_image_shows(tiles, tmp_path):
    (tmp_path / 'tags.json').write_text('{"4": ["b"], "1": ["b", "a"]}')
    dataset = tiles(unlabeled=dict(data_root=str(tmp_path / 'other')), tags=str(tmp_path / 'tags.json'))
    sampler(dataset)
    shown = {number: dataset[number]['data_samples'].metainfo.get('present') for number in (8, 9, 12, 16, 17)}
    assert shown == {8: None, 9: (0, 1), 12: (1, ), 16: None, 17: (0, 1)}  # '1' names a tile and an image
    assert 'present' not in dataset[4]['data_samples'].metainfo  # with its label
    (tmp_path / 'tags.csv').write_text('tile,classes\n1,a\n7.png,a\n')
    with pytest.raises(ValueError, match="tags.csv: 1 of 2 tiles are unknown, such as '7.png'; names have no suffix"):
        sampler(tiles(tags=str(tmp_path / 'tags.csv')))


def test_points_are_for_labelled_samples_alone(tiles):
    steps = [*STEPS[:2], dict(type='egmim_mm.SparseLabels', points=3), *STEPS[2:]]
    dataset = tiles(pipeline=steps)
    dataset.open_unlabelled()
    assert 0 < (dataset[2]['data_samples'].gt_sem_seg.data != 255).sum() <= 3
    assert 'valid' not in dataset[8 + 1]['data_samples']  # all its pixels hold data


def test_padding_is_marked(tiles):
    dataset = tiles()
    sample = dataset[8 + 7]['data_samples']  # 20 px
    assert sample.valid.data.sum() == 400 and sample.valid.data.shape == (1, 32, 32)
    assert 'valid' not in dataset[8 + 1]['data_samples']


def test_crops_of_rasters(tiles, tmp_path):
    from toy_scenes import scene, write_raster
    image, _ = scene(64)
    write_raster(tmp_path / 'raster/a.tif', image)
    rasters = dict(type='egmim_mm.RasterCrops', data_root=str(tmp_path / 'raster'), crop_size=32, num_crops=5)
    dataset = tiles(unlabeled=rasters)
    assert sampler(dataset, use_rest=False).unlabelled == 5
    packed = dataset[17]
    assert packed['inputs'].shape == (3, 32, 32) and (packed['data_samples'].gt_sem_seg.data == 255).all()
    write_raster(tmp_path / 'raster/a.tif', image[..., :2])
    with pytest.raises(TileReadError, match='gives 2 bands, and labelled tiles such as .* are read as 3'):
        sampler(tiles(unlabeled=rasters), use_rest=False)


def test_what_is_refused(tiles, tmp_path, write_image):
    for share in (0, 1, 1.5, 'half'):
        with pytest.raises(ValueError, match=f'labelled_share is {share}: a share of each batch above 0 and below 1'):
            sampler(tiles(), labelled_share=share)
    with pytest.raises(ValueError, match='there is no unlabelled tile: all 8 tiles of .* are labelled'):
        sampler(tiles(), budget=1.0)
    with pytest.raises(ValueError, match='there is no unlabelled tile: sampler.use_rest is False'):
        sampler(tiles(), use_rest=False)
    with pytest.raises(TypeError, match='MixedLabelBudgetSampler needs a data set with unlabelled samples'):
        MixedLabelBudgetSampler(range(3), 1)
    write_image(tmp_path / 'other/grey.png', np.zeros((40, 40), np.uint8))
    with pytest.raises(TileReadError, match='grey.png has 1 band and .* has 3: unlabelled tiles need the bands'):
        sampler(tiles(unlabeled=dict(data_root=str(tmp_path / 'other'))))
    write_image(tmp_path / 'deep/deep.png', np.zeros((40, 40), np.uint16))
    with pytest.raises(TileReadError, match="deep.png: samples of Pillow's mode 'I;16B?' are not 8-bit; convert"):
        sampler(tiles(unlabeled=dict(data_root=str(tmp_path / 'deep'))))
    with pytest.raises(ValueError, match='the pipeline has no egmim_mm.LoadTileMask'):
        sampler(tiles(pipeline=[STEPS[0], STEPS[-1]]))
