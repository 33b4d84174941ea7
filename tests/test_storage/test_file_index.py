"""The kept list of a large folder: used while nothing changed, and only then."""
import os

import pytest

from egmim_mm.storage import file_index
from egmim_mm.storage.file_index import indexed_images
from egmim_mm.storage.image_files import find_images


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four empty files in three folders that changed a while ago; lists of any length are kept."""
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(file_index, 'MIN_FILES', 1)
    root = tmp_path / 'images'
    for name in ('a.png', 'sub/b.PNG', 'sub/c.jpg', 'sub/deep/d.png'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    age(root)
    return root


def age(root):
    for base, _, _ in os.walk(root):
        os.utime(base, (1_000_000, 1_000_000))


@pytest.fixture
def walks(monkeypatch):
    """Folders that were really searched."""
    seen, original = [], file_index.walk_images
    monkeypatch.setattr(file_index, 'walk_images', lambda folder, *rest: seen.append(folder) or original(folder, *rest))
    return seen


def test_the_second_listing_searches_nothing(folder, walks):
    expected = ['a.png', 'sub/b.PNG', 'sub/c.jpg', 'sub/deep/d.png']
    assert [list(indexed_images(str(folder))) for _ in range(2)] == [expected] * 2 == [find_images(str(folder))] * 2
    assert len(walks) == 1
    assert list(indexed_images(str(folder), ('.jpg', ))) == ['sub/c.jpg']  # another question, another list
    assert list(indexed_images(str(folder), recursive=False)) == ['a.png']
    assert len(walks) == 3


@pytest.mark.parametrize('change', ['add', 'remove', 'rename', 'new folder', 'damage'])
def test_a_change_is_seen(folder, walks, change):
    indexed_images(str(folder))
    if change == 'add':
        (folder / 'sub/deep/e.png').touch()
    elif change == 'remove':
        (folder / 'sub/c.jpg').unlink()
    elif change == 'rename':
        (folder / 'a.png').rename(folder / 'z.png')
    elif change == 'new folder':
        (folder / 'sub/more').mkdir()
        (folder / 'sub/more/e.png').touch()
    else:
        next((folder.parent / 'home/.cache/egmim_mm').iterdir()).write_bytes(b'[1')
    assert list(indexed_images(str(folder))) == find_images(str(folder))
    assert len(walks) == 2


def test_folders_that_just_changed_and_small_ones_are_not_kept(folder, walks, monkeypatch):
    os.utime(folder / 'sub')
    for _ in range(2):
        indexed_images(str(folder))
    age(folder)
    monkeypatch.setattr(file_index, 'MIN_FILES', 5)
    for _ in range(2):
        indexed_images(str(folder))
    assert len(walks) == 4
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        indexed_images(str(folder / 'nowhere'))
