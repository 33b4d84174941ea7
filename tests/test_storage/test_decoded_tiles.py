"""Decoded tiles on disk."""
import multiprocessing
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from egmim_mm.datasets.transforms import LoadTile, LoadTileMask
from egmim_mm.storage.decoded_tiles import DecodedTiles
from egmim_mm.storage.mask_values import MaskValues
from egmim_mm.storage.tar_shards import find_shards, shard_images
from egmim_mm.storage.tile_reading import TileReadError


@pytest.fixture
def tile(tmp_path):
    path = tmp_path / 'images' / 'a.png'
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return path


def load(path, **options):
    return LoadTile(cache_dir='.cache', **options)(dict(img_path=str(path)))['img']


def never():
    raise AssertionError('decoded again')


def test_the_same_pixels_from_another_process_and_without_decoding(tile, monkeypatch):
    plain = LoadTile()(dict(img_path=str(tile)))['img']
    first = load(tile)
    with multiprocessing.get_context('fork').Pool(1) as pool:
        assert (pool.apply(load, (tile, )) == plain).all()
    monkeypatch.setattr('egmim_mm.datasets.transforms.read_image', lambda *args: never())
    again = load(tile)
    assert (first == plain).all() and (again == plain).all() and type(again) is np.ndarray
    assert len(os.listdir(tile.parent / '.cache')) == 1
    with pytest.raises(ValueError, match='read-only'):
        again[:] = 0


def test_a_changed_file_is_decoded_anew(tile):
    load(tile)
    Image.fromarray(np.full((40, 50, 3), 7, np.uint8)).save(tile)
    assert (load(tile) == 7).all()


def test_masks_of_two_tables_are_two_files(tile):
    Image.fromarray(np.full((40, 50), 2, np.uint8)).save(tile)
    for values, expected in (((0, 1, 2), 2), ((2, 1, 0), 0), ((0, 1, 2), 2)):
        sample = dict(seg_map_path=str(tile), mask_table=MaskValues('index', values))
        assert (LoadTileMask(cache_dir='.cache')(sample)['gt_seg_map'] == expected).all()
    assert len(os.listdir(tile.parent / '.cache')) == 2


def test_a_damaged_cache_file_is_written_again(tile):
    plain = load(tile)
    file = next((tile.parent / '.cache').iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert (load(tile) == plain).all() and file.read_bytes() == whole


def test_images_in_an_archive(tile, tmp_path):
    with tarfile.open(tmp_path / 'shard.tar', 'w') as archive:
        archive.add(tile, 'x/a.png')
    members = shard_images(find_shards('shard.tar', str(tmp_path)), ('.png', ), None)
    sample = dict(img_path='shard.tar: x/a.png', tar_member=members[0])
    for _ in range(2):
        assert (LoadTile(cache_dir='.cache')(dict(sample))['img'] == load(tile)).all()
    assert len(os.listdir(tmp_path / '.cache')) == 1


def test_an_absolute_folder_holds_tiles_of_the_same_name(tile, tmp_path):
    other = tmp_path / 'others' / 'a.png'
    other.parent.mkdir()
    Image.fromarray(np.full((40, 50, 3), 9, np.uint8)).save(other)
    cached = [LoadTile(cache_dir=str(tmp_path / 'all'))(dict(img_path=str(p)))['img'] for p in (tile, other)]
    assert (cached[1] == 9).all() and (cached[0] != 9).any() and len(os.listdir(tmp_path / 'all')) == 2


def test_where_nothing_can_be_written_tiles_are_decoded_and_it_is_said_once(tile, monkeypatch):
    said = []
    monkeypatch.setattr('egmim_mm.storage.decoded_tiles.print_log', lambda text, logger: said.append(text))
    cache = DecodedTiles('.cache', reserve_gb=1e9)
    calls = []
    for _ in range(2):
        array = cache.load(tile, lambda: calls.append(1) or np.full(3, 5))
    assert (array == 5).all() and len(calls) == 2 and not list((tile.parent / '.cache').glob('*'))
    assert len(said) == 1 and 'stay free' in said[0]
    (tile.parent / 'blocked').write_text('a file')
    assert (LoadTile(cache_dir='blocked')(dict(img_path=str(tile)))['img'] == load(tile)).all()


def test_messages(tile):
    with pytest.raises(TileReadError, match='nowhere.png: cannot be read'):
        load(tile.parent / 'nowhere.png')
    with pytest.raises(ValueError, match='with backend_args set cache_dir=None'):
        LoadTile(cache_dir='.cache', backend_args=dict(backend='petrel'))
