"""No tool runs code from a checkpoint: neither on resume, nor in a test, nor as initial weights."""
import os
import shutil

import pytest
import torch

from egmim_mm.checkpoints import read_checkpoint


class Payload:
    """Makes a folder when it is unpickled, as a malicious checkpoint would run a command."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker, )


@pytest.fixture(scope='module')
def trained(tiny, call, tmp_path_factory):
    """Work dirs of four iterations of pretraining (``egmim``) and of fine-tuning (``upernet``)."""
    folder = tmp_path_factory.mktemp('trained')
    for phase in ('egmim', 'upernet'):
        call('train', getattr(tiny, phase), '--work-dir', folder / phase, '--cfg-options', 'train_cfg.max_iters=4')
    return folder


def spoil(source, target, **changes):
    """Copy of a checkpoint with other entries."""
    torch.save(dict(read_checkpoint(source), **changes), target)
    return target


def test_what_our_checkpoints_hold_beside_tensors(trained):
    """If this list grows, the allow-list of the reader has to grow with it, deliberately."""
    names = set()
    for phase in ('egmim', 'upernet'):
        names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(trained / phase / 'iter_4.pth'))
    assert names <= {'mmengine.logging.history_buffer.HistoryBuffer', 'builtins.getattr', '__builtin__.getattr',
                     'numpy._core.multiarray._reconstruct', 'numpy._core.multiarray.scalar', 'numpy.ndarray',
                     'numpy.dtype', 'numpy.core.multiarray._reconstruct', 'numpy.core.multiarray.scalar'}
    assert 'mmengine.logging.history_buffer.HistoryBuffer' in names


def test_resume_refuses_a_payload(tiny, trained, call, tmp_path):
    marker = tmp_path / 'marker'
    evil = spoil(trained / 'egmim/last.pth', tmp_path / 'evil.pth', extra=Payload(marker))
    with pytest.raises(SystemExit, match=r'evil.pth holds more than weights \(posix.mkdir\).*--trust-checkpoint'):
        call('train', tiny.egmim, '--work-dir', tmp_path / 'run', '--resume', evil)
    assert not marker.exists()


def test_resume_does_not_execute_the_config_in_a_checkpoint(tiny, trained, call, tmp_path):
    """MMEngine's resume runs the config text of a checkpoint as Python."""
    marker = tmp_path / 'marker'
    meta = dict(read_checkpoint(trained / 'egmim/last.pth')['meta'], config=f'import os\nos.mkdir({str(marker)!r})\n')
    evil = spoil(trained / 'egmim/last.pth', tmp_path / 'evil.pth', meta=meta)
    call('train', tiny.egmim, '--work-dir', tmp_path / 'run', '--resume', evil, '--cfg-options',
         'train_cfg.max_iters=5')
    assert read_checkpoint(tmp_path / 'run/last.pth')['meta']['iter'] == 5
    assert not marker.exists()


def test_weights_alone_cannot_be_resumed(tiny, trained, call, tmp_path):
    torch.save(dict(state_dict=read_checkpoint(trained / 'egmim/last.pth')['state_dict']), tmp_path / 'weights.pth')
    with pytest.raises(SystemExit, match='weights.pth is not the checkpoint of a run that can go on.*--backbone'):
        call('train', tiny.egmim, '--work-dir', tmp_path / 'run', '--resume', tmp_path / 'weights.pth')


def test_test_refuses_a_payload_unless_told_otherwise(tiny, trained, call, tmp_path):
    marker = tmp_path / 'marker'
    evil = spoil(trained / 'upernet/last.pth', tmp_path / 'evil.pth', extra=Payload(marker))
    with pytest.raises(SystemExit, match='holds more than weights'):
        call('test', tiny.upernet, evil, '--work-dir', tmp_path / 'refused')
    assert not marker.exists()
    call('test', tiny.upernet, evil, '--work-dir', tmp_path / 'trusted', '--trust-checkpoint')
    assert marker.exists()  # the payload works


def test_initial_weights_are_read_safely(tiny, trained, call, tmp_path):
    marker = tmp_path / 'marker'
    evil = spoil(trained / 'egmim/last.pth', tmp_path / 'evil.pth', extra=Payload(marker))
    for arguments in (['--backbone', evil],
                      ['--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
                       f'model.backbone.init_cfg.checkpoint={evil}', 'train_cfg.max_iters=1']):
        with pytest.raises(SystemExit, match='holds more than weights'):
            call('train', tiny.upernet, '--work-dir', tmp_path / 'run', *arguments)
        assert not marker.exists()
        shutil.rmtree(tmp_path / 'run', ignore_errors=True)


def test_partial_on_purpose(tiny, trained, call, tmp_path):
    arguments = ['--work-dir', tmp_path / 'run', '--backbone', trained / 'egmim', '--cfg-options',
                 'train_cfg.max_iters=1', 'model.backbone.arch.depths=[2,2,4,2]']
    with pytest.raises(SystemExit, match='Less than 99 % fits.*--allow-partial'):
        call('train', tiny.upernet, *arguments)
    call('train', tiny.upernet, '--allow-partial', *arguments)
    assert (tmp_path / 'run/last.pth').exists()
    with pytest.raises(SystemExit, match='--allow-partial is about --backbone'):
        call('train', tiny.upernet, '--work-dir', tmp_path / 'other', '--allow-partial')
