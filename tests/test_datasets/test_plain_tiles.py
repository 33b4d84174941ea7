import numpy as np
import pytest
from mmengine.config import Config

from egmim_mm.datasets import UnlabeledTiles
from egmim_mm.datasets.plain_tiles import (
    Tile,
    build_training_data,
    centre_crop,
    dataset_tiles,
    file_tiles,
    short_names,
    spread,
    tile_names,
)
from egmim_mm.storage.tile_reading import TileReadError

PIPELINE = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.RandomScaledCrop', crop_size=32)]


@pytest.fixture
def folder(tmp_path, write_image):
    """Nine images of 40 x 50 px in two folders; image i has the RGB colour (i, 100, 200)."""
    for i in range(9):
        write_image(tmp_path / ('a' if i < 5 else 'b') / f'{i}.png', np.full((40, 50, 3), (i, 100, 200), np.uint8))
    return tmp_path


@pytest.mark.parametrize('count, num, expected', [
    (9, 3, [0, 4, 8]), (9, 1, [0]), (2, 5, [0, 1]), (5, 5, [0, 1, 2, 3, 4]), (1000, 2, [0, 999])])
def test_spread(count, num, expected):
    assert spread(count, num) == expected


def test_tiles_of_a_data_set_are_whole_and_not_augmented(folder):
    dataset = UnlabeledTiles(str(folder), pipeline=PIPELINE)
    state = np.random.get_state()[1].copy()
    tiles = list(dataset_tiles(dataset, 3))
    assert [tile.name for tile in tiles] == ['a/0', 'a/4', 'b/8']
    assert [tuple(tile.image[0, 0]) for tile in tiles] == [(200, 100, 0), (200, 100, 4), (200, 100, 8)]  # BGR
    assert all(tile.image.shape == (40, 50, 3) for tile in tiles)
    assert np.array_equal(state, np.random.get_state()[1])
    assert dataset[0]['img'].shape == (32, 32, 3)  # the data set itself still augments
    assert tile_names(dataset, [2, 3]) == ['2', '3']


def test_a_data_set_is_built_in_the_scope_of_its_config(folder):
    pipeline = [*PIPELINE, dict(type='PackInputs')]  # mmpretrain's
    cfg = Config(dict(default_scope='mmpretrain', train_dataloader=dict(
        dataset=dict(type='egmim_mm.UnlabeledTiles', data_root=str(folder), pipeline=pipeline))))
    assert build_training_data(cfg)[0]['inputs'].shape == (3, 32, 32)


def test_a_data_set_that_loads_nothing_is_refused():
    with pytest.raises(ValueError, match='a list has no pipeline that begins with a loading step.*name image files'):
        next(dataset_tiles([1, 2, 3], 2))


@pytest.mark.parametrize('pipeline', [PIPELINE, ()])
def test_files_are_all_shown_and_folders_in_part(folder, pipeline):
    tiles = list(file_tiles([folder / 'a', folder / 'b' / '7.png', folder / 'b' / '5.png'], 2, pipeline))
    assert [tile.name for tile in tiles] == ['a/0', 'a/4', 'b/7', 'b/5']
    assert [tile.image[3, 3, 2] for tile in tiles] == [0, 4, 7, 5]


def test_missing_and_broken_files_are_named(folder):
    with pytest.raises(FileNotFoundError, match='nowhere.png does not exist'):
        list(file_tiles([folder / 'nowhere.png'], 2))
    (folder / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no image in folder .*empty'):
        list(file_tiles([folder / 'empty'], 2))
    (folder / 'a' / 'bad.png').write_text('no image')
    with pytest.raises(TileReadError, match='bad.png'):
        list(file_tiles([folder / 'a' / 'bad.png'], 2))


def test_short_names():
    assert short_names(['/data/x/area_1/img/1.tif', '/data/x/area_2/img/1.tif']) == ['area_1/1', 'area_2/1']
    assert short_names(['a/x/1.png', 'b/x/2/3.png']) == ['a/x/1', 'b/x/2/3']
    assert short_names(['d/x/1.png', 'd/2.png']) == ['x/1', '2']
    assert short_names(['/data/x/1.png']) == ['1']
    assert short_names(['scale_0.5', 'scale_1.0']) == ['scale_0.5', 'scale_1.0']  # no endings of image files


@pytest.mark.parametrize('shape, size, corner, cropped', [
    ((100, 100), 64, (18, 18), (64, 64)),
    ((97, 70), 64, (16, 3), (64, 64)),
    ((100, 50), 96, (2, 9), (96, 32)),  # as much as is there
    ((32, 32), 256, (0, 0), (32, 32)),
])
def test_crop_from_the_centre(shape, size, corner, cropped):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    crop = centre_crop(Tile('x', image), size)
    (top, left), (height, width) = corner, cropped
    assert crop.name == 'x' and np.array_equal(crop.image, image[top:top + height, left:left + width])
    assert not np.shares_memory(crop.image, image)


def test_bad_crops():
    with pytest.raises(ValueError, match=r'area/9: 40 x 20 px \(height x width\) is smaller than 32 x 32'):
        centre_crop(Tile('area/9', np.zeros((40, 20, 3), np.uint8)), 64)
    with pytest.raises(ValueError, match='100 px, must be a multiple of 32 px'):
        centre_crop(Tile('x', np.zeros((200, 200, 3), np.uint8)), 100)
    with pytest.raises(ValueError, match='96 px, must be a multiple of 64 px'):
        centre_crop(Tile('x', np.zeros((200, 200, 3), np.uint8)), 96, unit=64)
