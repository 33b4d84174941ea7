"""UnlabeledTiles: which files are used, and bad files by name."""
import os
import pickle
import warnings

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from torch.utils.data import DataLoader

from egmim_mm.datasets import SampleIndex, StreamSampler, UnlabeledTiles, imagery
from egmim_mm.storage.tile_reading import TileReadError

LOAD = [dict(type='egmim_mm.LoadTile')]


@pytest.fixture
def folder(tmp_path, write_image):
    """Three flat images, 'a' = 10, 'sub/b' = 20, 'sub/deep/c' = 30, and files that are none."""
    for name, grey in (('a.png', 10), ('sub/b.PNG', 20), ('sub/deep/c.png', 30)):
        write_image(tmp_path / name, np.full((32, 40, 3), grey, np.uint8))
    (tmp_path / 'notes.txt').write_text('not an image')
    write_image(tmp_path / '.hidden' / 'x.png', np.zeros((32, 40), np.uint8))
    write_image(tmp_path / '._a.png', np.zeros((32, 40), np.uint8))
    return tmp_path


def names(dataset):
    return [dataset.get_data_info(i)['img_path'].rsplit('/', 1)[1] for i in range(len(dataset))]


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])


def noise(seed=0, size=(64, 64, 3)):
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def test_every_image_below_the_folder_in_order(folder):
    dataset = UnlabeledTiles(folder, pipeline=LOAD)
    assert names(dataset) == ['a.png', 'b.PNG', 'c.png']
    sample = dataset[1]
    assert sample['img_path'] == str(folder / 'sub' / 'b.PNG')
    assert sample['sample_idx'] == 1 and type(sample['sample_idx']) is int
    assert sample['img'].shape == (32, 40, 3) and sample['img_shape'] == (32, 40) and (sample['img'] == 20).all()


@pytest.mark.parametrize('arguments, expected', [
    (dict(recursive=False), ['a.png']),
    (dict(include='sub/*'), ['b.PNG', 'c.png']),
    (dict(include=['a', '*/c']), ['a.png', 'c.png']),
    (dict(suffixes=('.PNG', '.jpg')), ['a.png', 'b.PNG', 'c.png']),
])
def test_choice_of_files(folder, arguments, expected):
    assert names(UnlabeledTiles(folder, **arguments)) == expected


def test_list_file(folder):
    (folder / 'train.txt').write_text('# training\nsub/deep/c.png\n\na.png\n')
    assert names(UnlabeledTiles(folder, list_file='train.txt')) == ['c.png', 'a.png']
    assert names(UnlabeledTiles(folder, list_file=str(folder / 'train.txt'), include='a')) == ['a.png']


def test_a_list_of_many_files_asks_for_folders_not_files(folder, monkeypatch):
    names = [f'many/{i:03d}.png' for i in range(60)] + ['a.png', str(folder / 'sub/b.PNG')]
    (folder / 'many').mkdir()
    for name in names[:60]:
        (folder / name).hardlink_to(folder / 'a.png')
    (folder / 'train.txt').write_text('\n'.join(names))
    asked, original = [], os.path.isfile
    monkeypatch.setattr(os.path, 'isfile', lambda path: asked.append(str(path)) or original(path))
    assert len(UnlabeledTiles(folder, list_file='train.txt')) == 62
    assert not any('/many/' in path for path in asked) and str(folder / 'a.png') in asked
    (folder / names[7]).unlink()
    (folder / names[8]).unlink()
    (folder / names[8]).mkdir()
    (folder / 'train.txt').write_text('\n'.join([*names, *(f'none/{i}.png' for i in range(60))]))
    message = '62 of 122 images do not exist in .*: many/007.png, many/008.png, none/0.png'
    with pytest.raises(FileNotFoundError, match=message):
        UnlabeledTiles(folder, list_file='train.txt')


def test_a_subset_and_a_pickled_copy_have_the_same_images(folder):
    dataset = UnlabeledTiles(folder, indices=[2, 0])
    assert names(dataset) == ['c.png', 'a.png']
    dataset = UnlabeledTiles(folder, indices=2, pipeline=LOAD)
    copy = pickle.loads(pickle.dumps(dataset))
    assert names(copy) == ['a.png', 'b.PNG'] and (copy[1]['img'] == 20).all()
    assert names(UnlabeledTiles(folder).get_subset([1])) == ['b.PNG']


def test_names_of_any_script_and_undecodable_ones(tmp_path, write_image):
    path = write_image(tmp_path / '\u4e16\u754c \u00e9.png', np.zeros((8, 8, 3), np.uint8))
    odd = os.fsencode(tmp_path) + b'/\xff.png'
    os.link(path, odd)
    dataset = UnlabeledTiles(tmp_path, pipeline=LOAD)
    assert {os.fsencode(dataset[i]['img_path']) for i in range(2)} == {odd, os.fsencode(path)}


def test_a_link_back_up_is_followed_once(folder):
    (folder / 'sub' / 'loop').symlink_to(folder, target_is_directory=True)
    assert names(UnlabeledTiles(folder)) == ['a.png', 'b.PNG', 'c.png']


@pytest.mark.parametrize('arguments, message', [
    (dict(data_root='missing'), 'folder .*missing does not exist'),
    (dict(data_root='empty'), 'no images in folder .*empty'),
    (dict(suffixes=('.tif', )), r'no images in folder .*suffixes \.tif'),
    (dict(include='z*'), r"none of its 3 images matches include='z\*'"),
    (dict(list_file='missing.txt'), 'list file missing.txt does not exist'),
    (dict(list_file='wrong.txt'), '1 of 2 images do not exist in .*: sub/nowhere.png'),
])
def test_missing_input_is_named(folder, arguments, message):
    (folder / 'empty').mkdir()
    (folder / 'wrong.txt').write_text('a.png\nsub/nowhere.png\n')
    root = folder / arguments.pop('data_root', '.')
    with pytest.raises(FileNotFoundError, match=message):
        UnlabeledTiles(root, **arguments)


def test_a_file_that_is_no_image(folder, monkeypatch):
    (folder / 'bad.png').write_text('hello')
    with pytest.raises(TileReadError, match='bad.png: not an image'):
        UnlabeledTiles(folder)
    lines = []
    monkeypatch.setattr(imagery, 'print_log', lambda text, **_: lines.append(text))
    dataset = UnlabeledTiles(folder, on_error='skip')
    assert names(dataset) == ['a.png', 'b.PNG', 'c.png']
    assert len(lines) == 1 and lines[0].startswith(f'Skipped {folder}/bad.png: not an image')


def test_a_small_image(folder, write_image):
    write_image(folder / 'small.png', np.zeros((40, 20), np.uint8))
    with pytest.raises(TileReadError, match='small.png: 40 x 20 px .* smaller than min_size=32'):
        UnlabeledTiles(folder, min_size=32)
    assert 'small.png' not in names(UnlabeledTiles(folder, min_size=32, on_error='skip'))
    assert 'small.png' in names(UnlabeledTiles(folder))


def test_headers_beyond_the_first_are_checked_when_loaded(folder, write_image):
    write_image(folder / 'small.png', np.zeros((40, 20), np.uint8))
    dataset = UnlabeledTiles(folder, min_size=32, check_first=1, pipeline=LOAD)
    assert len(dataset) == 4
    with pytest.raises(TileReadError, match='small.png'):
        dataset[names(dataset).index('small.png')]


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif'])
def test_a_truncated_image_is_found_on_load(tmp_path, write_image, monkeypatch, suffix):
    for i in range(3):
        write_image(tmp_path / f'{i}{suffix}', noise(i))
    truncate(tmp_path / f'1{suffix}')
    dataset = UnlabeledTiles(tmp_path, pipeline=LOAD)
    with pytest.raises(TileReadError, match=f'1{suffix}: truncated or damaged'):
        dataset[1]

    lines = []
    monkeypatch.setattr(imagery, 'print_log', lambda text, **_: lines.append(text))
    dataset = UnlabeledTiles(tmp_path, pipeline=LOAD, on_error='skip')
    assert [dataset[1]['img_path'] for _ in range(3)] == [str(tmp_path / f'2{suffix}')] * 3
    assert len(lines) == 1 and f'1{suffix}' in lines[0]


def test_nothing_usable(tmp_path, write_image):
    write_image(tmp_path / 'a.png', noise())
    truncate(tmp_path / 'a.png')
    with pytest.raises(TileReadError, match='none of the 1 images'):
        UnlabeledTiles(tmp_path, pipeline=LOAD, on_error='skip')[0]
    (tmp_path / 'a.png').write_text('hello')
    with pytest.raises(FileNotFoundError, match='all 1 were skipped'):
        UnlabeledTiles(tmp_path, on_error='skip')


@pytest.mark.parametrize('suffix, bands, profile', [
    ('png', 1, {}), ('png', 3, {}), ('png', 4, {}), ('tif', 1, {}), ('tif', 3, dict(photometric='rgb')),
    ('tif', 4, dict(photometric='rgb', alpha='yes', compress='lzw')), ('tif', 3, dict(compress='deflate'))])
def test_sixteen_bit_images_are_refused_rather_than_clipped(tmp_path, suffix, bands, profile):
    path = tmp_path / f'deep.{suffix}'
    driver = dict(png='PNG', tif='GTiff')[suffix]
    with warnings.catch_warnings(), rasterio.open(path, 'w', driver=driver, height=32, width=32, count=bands,
                                                  dtype='uint16', transform=from_origin(0, 0, 1, 1), **profile) as file:
        file.write(np.full((bands, 32, 32), 4000, np.uint16))  # its upper byte is 15: nearly black
    says = 'deep.*(not 8-bit; convert .*--scale LOW HIGH.*RasterCrops|not an image that Pillow can read)'
    with pytest.raises(TileReadError, match=says):
        UnlabeledTiles(tmp_path)
    with pytest.raises(TileReadError, match=says):
        UnlabeledTiles(tmp_path, check_first=0, pipeline=LOAD)[0]


def test_eight_bit_images_of_every_kind_are_taken(tmp_path):
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK'):
        grey.convert('RGBA' if mode == 'RGBA' else 'RGB').convert(mode).save(tmp_path / f'{mode}.tif')
    grey.convert('RGB').save(tmp_path / 'x.bmp')
    dataset = UnlabeledTiles(tmp_path, pipeline=LOAD)
    assert len(dataset) == 8 and all(dataset[i]['img'].shape == (16, 16, 3) for i in range(8))


def test_unknown_on_error(folder):
    with pytest.raises(ValueError, match="on_error 'ignore'"):
        UnlabeledTiles(folder, on_error='ignore')


@pytest.fixture
def augmented(tmp_path, write_image):
    for i in range(6):
        write_image(tmp_path / f'{i}.png', noise(i))
    truncated = tmp_path / '3.png'
    truncate(truncated)
    return UnlabeledTiles(tmp_path, on_error='skip', pipeline=[
        *LOAD, dict(type='egmim_mm.RandomScaledCrop', crop_size=16), dict(type='egmim_mm.RandomQuarterTurn')])


def test_augmentation_is_a_function_of_the_position(augmented):
    first = augmented[SampleIndex(2, 77)]['img']
    np.random.seed(0)
    assert (augmented[SampleIndex(2, 77)]['img'] == first).all()
    assert (augmented[SampleIndex(2, 78)]['img'] != first).any()
    # The replacement of a broken file keeps the seed of the position.
    assert (augmented[SampleIndex(3, 77)]['img'] == augmented[SampleIndex(4, 77)]['img']).all()


def batches(dataset, workers, count=4, skipped=0):
    sampler = StreamSampler(dataset, seed=1)
    sampler.skip(skipped)
    loader = DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=workers,
                        collate_fn=lambda samples: np.stack([s['img'] for s in samples]))
    return [batch for batch, _ in zip(loader, range(count))]


def test_workers_and_resume_do_not_change_the_stream(augmented):
    plain = batches(augmented, 0)
    assert all((a == b).all() for a, b in zip(plain, batches(augmented, 2)))
    assert all((a == b).all() for a, b in zip(plain[2:], batches(augmented, 0, count=2, skipped=6)))
