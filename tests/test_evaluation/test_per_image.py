"""The file of counts per image: what goes in comes out, whole or not at all."""
import numpy as np
import pytest

from egmim_mm.evaluation.per_image import image_names, read_per_image, write_per_image


def test_counts_come_back(tmp_path):
    path = tmp_path / 'per_image.npz'
    counts = dict(confusion=np.arange(18).reshape(2, 3, 3), boundary_iou_3px=np.ones((2, 2, 3), np.int64))
    assert write_per_image(path, ['a/ü', 'b'], counts)
    names, found = read_per_image(path)
    assert names == ['a/ü', 'b'] and set(found) == set(counts)
    assert all(np.array_equal(found[key], counts[key]) for key in counts)
    assert [file.name for file in tmp_path.iterdir()] == ['per_image.npz']


def test_without_counts_an_older_file_goes(tmp_path):
    path = tmp_path / 'per_image.npz'
    write_per_image(path, ['a'], dict(confusion=np.ones((1, 2, 2))))
    assert not write_per_image(path, [], {}) and not path.exists()


def test_names_and_counts_must_match(tmp_path):
    with pytest.raises(ValueError, match='confusion holds the counts of 1 images, but the data set has 2'):
        write_per_image(tmp_path / 'x.npz', ['a', 'b'], dict(confusion=np.ones((1, 2, 2))))


def test_files_that_are_missing_or_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match='test the checkpoint again with tools/test.py'):
        read_per_image(tmp_path / 'none.npz')
    (tmp_path / 'text.npz').write_text('no arrays')
    np.savez(tmp_path / 'nameless.npz', confusion=np.ones(1))
    np.savez(tmp_path / 'pickled.npz', names=np.array([dict()], dtype=object))
    for name in ('text', 'nameless', 'pickled'):
        with pytest.raises(ValueError, match=f'{name}.npz: not a file of counts per image'):
            read_per_image(tmp_path / f'{name}.npz')


def test_names_of_a_data_set():
    class Tiles(list):
        def get_data_info(self, index):
            return self[index]

    assert image_names(Tiles([dict(tile_name='a/b', img_path='x.png'), dict(img_path='d/e.tif'), dict()])) == [
        'a/b', 'd/e', '2']
    assert image_names([dict(img_path='x.png'), dict()]) == ['0', '1']
