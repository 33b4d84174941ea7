"""Files appear whole or not at all."""
import os

import numpy as np
import pytest

from egmim_mm.records import whole_file, write_whole


def test_content_is_there_and_folders_are_made(tmp_path):
    write_whole(tmp_path / 'a/b.txt', 'Größe\n')
    write_whole(tmp_path / 'a/b.bin', b'\0\1')
    assert (tmp_path / 'a/b.txt').read_bytes() == 'Größe\n'.encode() and (tmp_path / 'a/b.bin').read_bytes() == b'\0\1'


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a.npy'
    with whole_file(path) as draft:
        np.save(draft, np.arange(3))
        assert draft.suffix == '.npy' and draft.name.startswith('.') and not path.exists()
    with pytest.raises(KeyboardInterrupt), whole_file(path) as draft:
        draft.write_bytes(b'half')
        raise KeyboardInterrupt
    assert np.load(path).tolist() == [0, 1, 2] and os.listdir(tmp_path) == ['a.npy']


def test_two_that_write_the_same_file_have_drafts_of_their_own(tmp_path):
    with whole_file(tmp_path / 'a') as first, whole_file(tmp_path / 'a') as second:
        first.write_text('first')
        second.write_text('second')
    assert first != second and (tmp_path / 'a').read_text() == 'first' and os.listdir(tmp_path) == ['a']


def test_a_folder_in_the_place_of_the_file_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / 'a').mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / 'a', b'x')
    assert os.listdir(tmp_path) == ['a']
