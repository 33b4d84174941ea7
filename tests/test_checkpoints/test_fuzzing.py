"""Mutated files: the loader loads or raises CheckpointError, and never runs code.

``EGMIM_FUZZ=5000 python -m pytest tests/test_checkpoints/test_fuzzing.py`` tries that many files of each kind.
"""
import io
import os
import random
import sys
import zipfile

import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save

from egmim_mm.checkpoints import CheckpointError, LoadReport, load_backbone
from egmim_mm.models import MaskedSwinTransformer

pytestmark = pytest.mark.filterwarnings('ignore')  # torch's remarks on broken pickles

COUNT = int(os.environ.get('EGMIM_FUZZ', 80))
ARCH = dict(embed_dims=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1])
ACTS = ('os.', 'subprocess.', 'socket.', 'shutil.', 'pty.', 'exec', 'compile', 'ctypes.')
HARMLESS = ('os.listdir', 'os.scandir', 'os.putenv', 'os.fwalk', 'os.walk')
watched = dict(on=False, acts=[])


def _watch(event, arguments):
    if watched['on'] and event.startswith(ACTS) and not event.startswith(HARMLESS) and not _importing():
        watched['acts'].append(event)


def _importing():
    """Whether a library is loading a module of its own, as torch and codecs do on first use."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith('<frozen importlib'):
        frame = frame.f_back
    return frame is not None


class Payload:

    def __reduce__(self):
        return os.system, ('exit 1', )


@pytest.fixture(scope='module')
def watch():
    sys.addaudithook(_watch)  # cannot be taken off again, only silenced
    return watched


def swin():
    torch.manual_seed(0)
    backbone = MaskedSwinTransformer(arch=ARCH, img_size=16, window_size=2)
    backbone.init_mask_token()  # a zero one would get new values at each load
    return backbone


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def sources():
    weights = {k: v for k, v in swin().state_dict().items() if 'index' not in k}
    history = HistoryBuffer()
    history.update(1.0)
    run = dict(state_dict=weights, meta=dict(iter=3), message_hub=dict(log_scalars=dict(loss=history)))
    return dict(
        zip=saved(run), legacy=saved(run, _use_new_zipfile_serialization=False), safetensors=save(weights),
        payload=saved(dict(run, extra=Payload())))


def mutate(content, chance):
    """One to three damages: bytes replaced, cut off, taken out, put in, doubled or exchanged."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        # headers and pickles stand at the ends of these files
        where = chance.randrange(min(4000, len(data))) if chance.random() < 0.5 else chance.randrange(len(data))
        where = len(data) - 1 - where if chance.random() < 0.3 else where
        length = chance.choice([1, 2, 8, 100])
        kind = chance.randrange(6)
        if kind == 0:
            data[where:where + length] = chance.randbytes(length)
        elif kind == 1:
            data = data[:max(1, where)]
        elif kind == 2:
            del data[where:where + length]
        elif kind == 3:
            data[where:where] = chance.randbytes(length)
        elif kind == 4:
            data[where:where] = data[where:where + length]
        else:
            data[where] ^= 1 << chance.randrange(8)
        if not data:
            data = bytearray(b'x')
    return bytes(data)


def mutate_pickle(content, chance):
    """The same to the pickle inside a zip file, which is then written anew with correct checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(out, 'w') as after:
        for name in before.namelist():
            part = before.read(name)
            after.writestr(name, mutate(part, chance) if name.endswith('data.pkl') else part)
    return out.getvalue()


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors', 'payload', 'pickle', 'payload_pickle'])
def test_mutated_files(tmp_path, watch, kind):
    content = sources()[kind.replace('payload_pickle', 'payload').replace('pickle', 'zip')]
    chance, backbone = random.Random(kind), swin()
    path = tmp_path / ('a.safetensors' if kind == 'safetensors' else 'a.pth')
    outcomes = {True: 0, False: 0}
    for number in range(COUNT):
        path.write_bytes((mutate_pickle if kind.endswith('pickle') else mutate)(content, chance))
        watch.update(on=True, acts=[])
        try:
            loaded = isinstance(load_backbone(backbone, str(path), allow_partial=True), LoadReport)
        except CheckpointError as error:
            loaded = False
            assert path.name in str(error)
        finally:
            watch.update(on=False)
        assert not watch['acts'], (number, watch['acts'])
        outcomes[loaded] += 1
        assert all(torch.isfinite(p).all() for p in backbone.parameters())
    assert outcomes[False] > COUNT // 10
    assert (outcomes[True] == 0) or 'payload' not in kind or outcomes[True] < COUNT // 4


def test_the_watch_sees_a_payload(tmp_path, watch):
    (tmp_path / 'a.pth').write_bytes(sources()['payload'])
    watch.update(on=True, acts=[])
    load_backbone(swin(), str(tmp_path / 'a.pth'), trust=True)
    watch.update(on=False)
    assert 'os.system' in watch['acts']


def hostile(**changes):
    weights = swin().state_dict()
    return {k: changes.get(k, v) for k, v in weights.items()} | {k: v for k, v in changes.items() if k not in weights}


TABLE = 'stages.0.blocks.0.attn.w_msa.relative_position_bias_table'
REDUCTION = 'stages.0.downsample.reduction.weight'


@pytest.mark.parametrize('content', [
    hostile(**{TABLE: torch.zeros(1).expand(10**12, 1)}),  # a table of terabytes in a file of kilobytes
    hostile(**{TABLE: torch.zeros(0, 1)}),
    hostile(**{REDUCTION: torch.zeros(())}),
    hostile(**{REDUCTION: torch.zeros(4, 0)}),
    hostile(**{REDUCTION: torch.zeros(8, 16, dtype=torch.complex64)}),
    hostile(**{REDUCTION: torch.zeros(8, 16).to_sparse()}),
    hostile(**{REDUCTION: torch.zeros(8, 16, device='meta')}),
    hostile(**{REDUCTION: torch.zeros(8, 16, dtype=torch.bool)}),
    hostile(**{'patch_embed.projection.weight': torch.zeros(4, 0, 4, 4)}),
    hostile(**{'patch_embed.projection.bias': 'text'}),
])
def test_strange_tensors_are_left_out(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    backbone = swin()
    before = {k: v.clone() for k, v in backbone.named_parameters()}
    report = load_backbone(backbone, str(tmp_path / 'a.pth'), allow_partial=True)
    assert len(report.missing) + len(report.mismatched) == 1
    assert all(torch.equal(before[k], v) for k, v in backbone.named_parameters())


def test_a_dictionary_that_holds_itself(tmp_path):
    content = {}
    content['model'] = content
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='holds no weights'):
        load_backbone(swin(), str(tmp_path / 'a.pth'))
