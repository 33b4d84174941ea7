"""Reading checkpoints: work dirs are resolved, no code in a file is run, every failure names the file."""
import argparse
import hashlib
import os
import pickle
import random
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from egmim_mm.checkpoints import (
    CheckpointError,
    describe_source,
    newest_checkpoint,
    read_checkpoint,
    resolve_source,
)
from egmim_mm.records.provenance import file_sha256

# torch remarks on the hostile pickles below
pytestmark = pytest.mark.filterwarnings('ignore:Detected pickle protocol')


class Payload:
    """Leaves a marker when it is unpickled, as a malicious checkpoint would run a command."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker, )


@pytest.mark.parametrize('save', [torch.save, lambda o, p: torch.save(o, p, _use_new_zipfile_serialization=False)])
def test_payload_is_refused_and_not_run(tmp_path, save):
    path, marker = tmp_path / 'payload.pth', tmp_path / 'marker'
    save(dict(state_dict=dict(weight=torch.ones(2)), extra=Payload(marker)), path)
    with pytest.raises(CheckpointError, match=r'payload.pth holds more than weights \((posix|nt)\.mkdir\).*trust=True'):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match='could run code'):
        describe_source(str(path))
    assert not marker.exists()
    read_checkpoint(path, trust=True)  # proves that the payload works
    assert marker.exists()


def test_all_names_are_listed(tmp_path):
    content = dict(weight=torch.ones(2), a=Payload(tmp_path / 'marker'), b=random.Random(0), c=tmp_path)
    torch.save(content, tmp_path / 'payload.pth')
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / 'payload.pth')
    names = str(caught.value).partition('(')[2].partition(')')[0]
    assert {'posix.mkdir', 'random.Random', 'pathlib.PosixPath'} <= set(names.split(', '))


def test_settings_of_other_trainers_are_data(tmp_path, monkeypatch):
    """timm keeps argparse's result, Swin and SimMIM a yacs configuration, which need not be installed to read it."""
    module, package = types.ModuleType('yacs.config'), types.ModuleType('yacs')
    module.CfgNode = type('CfgNode', (dict, ), dict(__module__='yacs.config'))
    node = module.CfgNode(MODEL=module.CfgNode(TYPE='swin'))
    node.frozen = True
    content = dict(model=dict(weight=torch.ones(2)), config=node, args=argparse.Namespace(lr=0.1, model='swin'))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'yacs', package)
        patch.setitem(sys.modules, 'yacs.config', module)
        torch.save(content, tmp_path / 'swin.pth')
    checkpoint = read_checkpoint(tmp_path / 'swin.pth')
    assert checkpoint['config'] == dict(MODEL=dict(TYPE='swin')) and checkpoint['args'].lr == 0.1
    assert torch.equal(checkpoint['model']['weight'], torch.ones(2))


def test_safetensors(tmp_path):
    path = tmp_path / 'a.safetensors'
    save_file(dict(weight=torch.arange(3.0)), path, dict(lineage='[{"experiment": "x"}]', format='pt'))
    checkpoint = read_checkpoint(path)
    assert checkpoint['state_dict']['weight'].tolist() == [0, 1, 2]
    assert checkpoint['meta'] == dict(lineage=[dict(experiment='x')], format='pt')
    content = path.read_bytes()
    for damaged in (b'', content[:5], content[:-1], b'\xff' * 20 + content):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match='a.safetensors is not a readable checkpoint, or is truncated'):
            read_checkpoint(path)
    save_file(dict(weight=torch.arange(3.0)), path, dict(lineage='no JSON'))
    assert describe_source(str(path))['lineage'] == []


class Attribute:
    """Asks for an attribute, which could be any function, of a class that checkpoints may name."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_attributes_of_allowed_classes_are_refused(tmp_path):
    torch.save(dict(extra=Attribute()), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r"holds more than weights \(getattr\(.*HistoryBuffer.*'__init__'\)\)"):
        read_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize('protocol', range(6))
def test_bare_pickle_is_not_run(tmp_path, protocol):
    path, marker = tmp_path / 'payload.pth', tmp_path / 'marker'
    path.write_bytes(pickle.dumps(Payload(marker), protocol))
    with pytest.raises(CheckpointError, match='payload.pth'):
        read_checkpoint(path)
    assert not marker.exists()


def test_truncated_file(tmp_path):
    path = tmp_path / 'cut.pth'
    torch.save(dict(weight=torch.randn(1000)), path)
    content = path.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match='cut.pth is not a readable checkpoint, or is truncated'):
            read_checkpoint(path)


def test_random_bytes(tmp_path):
    path = tmp_path / 'noise.pth'
    source = random.Random(0)
    for i in range(300):
        start = b'\x80' + bytes([source.choice([2, 3, 4])]) if i % 2 else b''  # as a pickle starts
        path.write_bytes(start + source.randbytes(source.choice([1, 5, 100, 1000])))
        with pytest.raises(CheckpointError, match='noise.pth'):
            read_checkpoint(path)


@pytest.mark.parametrize('content, kind', [([1, 2], 'list'), (torch.ones(3), 'Tensor')])
def test_not_a_dictionary(tmp_path, content, kind):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=f'other.pth holds a {kind}, not a dictionary'):
        read_checkpoint(tmp_path / 'other.pth')


def test_mmengine_contents_are_read_safely(tmp_path):
    history = HistoryBuffer()
    history.update(1.5, 1)
    meta = dict(iter=5, best=np.float64(0.5), count=np.int64(3), names=np.array([1.0, 2.0]), flag=np.bool_(True))
    hub = dict(log_scalars=dict(loss=history), runtime_info=dict(value=np.float32(0.25)), resumed_keys={})
    torch.save(dict(state_dict=dict(weight=torch.ones(2)), meta=meta, message_hub=hub), tmp_path / 'iter_5.pth')
    checkpoint = read_checkpoint(tmp_path / 'iter_5.pth')
    assert checkpoint['meta']['best'] == 0.5 and checkpoint['meta']['count'] == 3 and checkpoint['meta']['flag']
    assert checkpoint['meta']['names'].tolist() == [1, 2]
    assert checkpoint['message_hub']['runtime_info']['value'] == 0.25
    assert checkpoint['message_hub']['log_scalars']['loss'].current() == 1.5


@pytest.fixture
def said(monkeypatch):
    """What resolving a source says in the log."""
    lines = []
    monkeypatch.setattr('egmim_mm.checkpoints.sources.print_log', lambda text, logger: lines.append(text))
    return lines


def test_work_dir_resolves_to_the_newest_by_its_real_name(tmp_path, said):
    for name in ('iter_10.pth', 'iter_20.pth'):
        torch.save({}, tmp_path / name)
    (tmp_path / 'last.pth').symlink_to('iter_10.pth')
    assert resolve_source(str(tmp_path)) == tmp_path / 'iter_10.pth'
    (tmp_path / 'last_checkpoint').write_text('/other/machine/work_dirs/run/iter_20.pth\n')
    assert resolve_source(str(tmp_path)) == tmp_path / 'iter_20.pth'  # killed between the pointer and the link
    assert said[-1] == f'From {tmp_path}: iter_20.pth, its newest checkpoint'
    (tmp_path / 'iter_20.pth').unlink()
    assert resolve_source(str(tmp_path)) == tmp_path / 'iter_10.pth'
    assert resolve_source(str(tmp_path / 'iter_10.pth')) == tmp_path / 'iter_10.pth'
    (tmp_path / 'last.pth').unlink()
    (tmp_path / 'iter_10.pth').rename(tmp_path / 'last.pth')  # a copy, where links are impossible
    assert resolve_source(str(tmp_path)) == tmp_path / 'last.pth'


def test_work_dir_never_resolves_to_a_file_of_another(tmp_path):
    (tmp_path / 'a').mkdir()
    torch.save({}, tmp_path / 'a/iter_10.pth')
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    (tmp_path / 'b/last_checkpoint').write_text(str(tmp_path / 'a/iter_10.pth'))
    assert newest_checkpoint(tmp_path / 'b') == tmp_path / 'b/iter_10.pth'
    (tmp_path / 'b/iter_10.pth').unlink()
    assert newest_checkpoint(tmp_path / 'b') is None


def test_work_dir_prefers_what_was_declared_best(tmp_path, said):
    for name in ('iter_20.pth', 'best_mIoU_iter_10.pth'):
        torch.save(dict(meta=dict(name=name)), tmp_path / name)
    (tmp_path / 'last.pth').symlink_to('iter_20.pth')
    assert resolve_source(str(tmp_path)) == tmp_path / 'best_mIoU_iter_10.pth'  # MMEngine's own hook made no link
    assert said == [f'From {tmp_path}: best_mIoU_iter_10.pth, its best (save_best) checkpoint']
    torch.save({}, tmp_path / 'best_OA_iter_20.pth')
    with pytest.raises(CheckpointError, match='several best checkpoints .best_OA_iter_20.pth, best_mIoU_iter_10.pth'):
        resolve_source(str(tmp_path))
    (tmp_path / 'best.pth').symlink_to('best_mIoU_iter_10.pth')
    described = describe_source(str(tmp_path))
    assert described['path'] == str(tmp_path / 'best_mIoU_iter_10.pth')
    assert described['sha256'] == file_sha256(tmp_path / 'best_mIoU_iter_10.pth')
    assert newest_checkpoint(tmp_path) == tmp_path / 'iter_20.pth'  # what a resume goes on from


@pytest.mark.parametrize('pointer', [None, '', 'run/iter_30.pth'])
def test_work_dir_without_a_checkpoint(tmp_path, pointer):
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer)
    with pytest.raises(CheckpointError, match='holds no last.pth: give the work dir of a run'):
        resolve_source(str(tmp_path))


def test_missing_path(tmp_path):
    with pytest.raises(CheckpointError, match='gone.pth does not exist'):
        resolve_source(str(tmp_path / 'gone.pth'))


def test_description(tmp_path):
    lineage = [dict(experiment='gppt', iterations=100, source=None)]
    torch.save(dict(state_dict={}, meta=dict(lineage=lineage)), tmp_path / 'last.pth')
    expected = hashlib.sha256((tmp_path / 'last.pth').read_bytes()).hexdigest()
    assert describe_source(str(tmp_path)) == dict(path=str(tmp_path / 'last.pth'), sha256=expected, lineage=lineage)
    for foreign in (dict(a=torch.ones(1)), dict(a=torch.ones(1), meta=None)):
        torch.save(foreign, tmp_path / 'foreign.pth')
        assert describe_source(str(tmp_path / 'foreign.pth'))['lineage'] == []
