import hashlib
import json

import numpy as np
import pytest
import torch

from egmim_mm.records.provenance import (
    device_description,
    file_sha256,
    git_state,
    package_versions,
    plain,
    write_json,
)


def test_hash_equals_hashlib_over_several_blocks(tmp_path):
    data = bytes(range(256)) * 9000  # 2.3 MB, read in three blocks
    (tmp_path / 'weights.pth').write_bytes(data)
    assert file_sha256(tmp_path / 'weights.pth') == hashlib.sha256(data).hexdigest()


def test_plain_gives_strict_json():
    value = {
        'a': np.float32(0.5), 'b': torch.tensor([[1, 2]]), 'c': float('nan'), 'd': (np.int64(3), None),
        4: float('inf'), 'e': torch.device('cpu'), 'f': True
    }
    assert plain(value) == {
        'a': 0.5, 'b': [[1, 2]], 'c': None, 'd': [3, None], '4': None, 'e': 'cpu', 'f': True
    }


def test_write_json_replaces_the_file_or_leaves_it(tmp_path):
    path = tmp_path / 'new' / 'results.json'
    write_json(path, dict(mIoU=1.5))
    assert json.loads(path.read_text()) == dict(mIoU=1.5)

    class Broken:

        def tolist(self):
            raise RuntimeError('no value')

    with pytest.raises(RuntimeError):
        write_json(path, dict(mIoU=Broken()))
    assert json.loads(path.read_text()) == dict(mIoU=1.5)
    assert [file.name for file in path.parent.iterdir()] == ['results.json']


def test_versions_and_device_name_the_real_ones():
    versions = package_versions()
    assert versions['torch'] == torch.__version__.split('+')[0] or versions['torch'] == torch.__version__
    assert versions['onedl-mmsegmentation']
    device = device_description(torch.device('cpu'), 2)
    assert device['type'] == 'cpu' and device['processes'] == 2 and device['threads'] >= 1


def test_commit_is_a_hash_or_absent():
    state = git_state()
    assert state is None or (len(state['commit']) == 40 and isinstance(state['modified'], bool))
