"""Checkpoints of toy runs: their lineage, the best one, and files that appear whole."""
from pathlib import Path

import pytest
import torch

from egmim_mm.checkpoints import read_checkpoint, resolve_source
from egmim_mm.checks import LaunchError
from egmim_mm.records.provenance import file_sha256


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('options', [
    lambda path: {'load_from': path}, lambda path: {'model.init_cfg': dict(type='Pretrained', checkpoint=path)},
    lambda path: {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint=path, prefix='backbone.')}])
@pytest.mark.parametrize('source', ['first', 'first/iter_6.pth'])
def test_declared_weights_are_in_the_lineage(toy, tmp_path, results, options, source):
    toy('first')
    digest = file_sha256(tmp_path / 'first/iter_6.pth')
    toy('second', options(str(tmp_path / source)))
    lineage = read_checkpoint(tmp_path / 'second/last.pth')['meta']['lineage']
    assert [(s['iterations'], s['source'], s['source_file']) for s in lineage] == [
        (6, None, None), (6, digest, 'iter_6.pth')]
    assert results('second')['backbone_source']['sha256'] == digest
    assert results('second')['backbone_source']['lineage'] == lineage[:1]
    first, second = (read_checkpoint(tmp_path / name / 'last.pth')['state_dict'] for name in ('first', 'second'))
    assert not same(first, second)


def test_backbone_and_load_from_contradict(toy, tmp_path):
    toy('first')
    with pytest.raises(LaunchError, match='--backbone .*first and load_from=x.pth in the config both give the weights'):
        toy('second', {'load_from': 'x.pth'}, backbone=str(tmp_path / 'first'))


BEST = {'default_hooks.checkpoint.save_best': 'mIoU', 'train_cfg.val_begin': 1, 'train_cfg.val_interval': 2}


def test_best_is_linked_and_taken_as_a_source(toy, tmp_path):
    toy('first', BEST)
    folder = tmp_path / 'first'
    best = (folder / 'best.pth').resolve()
    assert best.name == 'best_mIoU_iter_4.pth' and best == resolve_source(str(folder)).resolve()
    assert (folder / 'last.pth').resolve().name == 'iter_6.pth'
    toy('second', {'load_from': str(folder)})
    step = read_checkpoint(tmp_path / 'second/last.pth')['meta']['lineage']
    assert step[0]['iterations'] == 4 and step[1]['source_file'] == best.name
    assert step[1]['source'] == file_sha256(best)


def test_best_is_no_longer_declared_without_save_best(toy, tmp_path):
    toy('first', BEST, until=5)
    assert (tmp_path / 'first/best.pth').exists()
    toy('first', dict(BEST, **{'default_hooks.checkpoint.save_best': None}), resume=True)
    assert not (tmp_path / 'first/best.pth').exists()


def test_last_follows_a_checkpoint_that_only_the_best_one_asked_for(toy, tmp_path):
    """MMEngine saves again after a new best score, between the intervals."""
    toy('first', dict(BEST, **{'default_hooks.checkpoint.interval': 5, 'train_cfg.val_interval': 6,
                               'train_cfg.max_iters': 12}), until=7)
    folder = tmp_path / 'first'
    assert Path((folder / 'last_checkpoint').read_text()).name == 'iter_6.pth'
    assert (folder / 'last.pth').resolve().name == 'iter_6.pth'


def test_a_checkpoint_appears_when_it_is_complete(toy, tmp_path, monkeypatch):
    toy(until=3)
    before = (tmp_path / 'run/iter_2.pth').read_bytes()
    monkeypatch.setattr('mmengine.fileio.backends.local_backend.LocalBackend.put', cut_off)
    with pytest.raises(KeyboardInterrupt):
        toy(resume=True)
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.pth')) == ['iter_2.pth', 'last.pth']
    monkeypatch.undo()
    assert (tmp_path / 'run/last.pth').read_bytes() == before
    assert len(toy(resume=True).rates) == 4


def cut_off(self, content, path):
    Path(path).write_bytes(content[:100])
    raise KeyboardInterrupt
