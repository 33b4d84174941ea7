"""Where the line of an error goes when several processes were started together."""
import pytest

from egmim_mm.engine.errors import LaunchError, user_errors


def end(error):
    with pytest.raises(SystemExit) as ended, user_errors():
        raise error
    return ended.value.code


def test_alone_it_is_printed(monkeypatch):
    monkeypatch.delenv('EGMIM_ERROR_FILE', raising=False)
    assert end(LaunchError('what to do')) == 'Error: what to do'


@pytest.mark.parametrize('error, line', [
    (PermissionError(13, 'Permission denied', 'data/out'), 'Error: data/out: Permission denied'),
    (OSError(30, 'Read-only file system', 'data/out'), 'Error: data/out: Read-only file system'),
    (FileExistsError('data/out holds other files'), 'Error: data/out holds other files')])
def test_a_path_that_cannot_be_written(monkeypatch, error, line):
    monkeypatch.delenv('EGMIM_ERROR_FILE', raising=False)
    assert end(error) == line


def test_an_error_of_the_system_that_names_no_path_keeps_its_traceback():
    with pytest.raises(OSError, match='Broken pipe'), user_errors():
        raise OSError(32, 'Broken pipe')


def test_of_several_processes_the_first_leaves_it_to_the_script(monkeypatch, tmp_path):
    report = tmp_path / 'error'
    monkeypatch.setenv('EGMIM_ERROR_FILE', str(report))
    assert end(LaunchError('of the first')) == 1 and end(FileNotFoundError('of the second')) == 1
    assert report.read_text() == 'Error: of the first'
