"""From what a user names - a file, a work dir, an address - to a file on this machine."""
import hashlib
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path

import torch
from mmengine.logging import print_log
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from egmim_mm.records import whole_file
from egmim_mm.records.provenance import file_sha256

_SCHEMES = ('http://', 'https://', 'file://')
_HASH_IN_NAME = re.compile(r'-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.')  # as in swin_t-704ceda3.pth; a date is none
_WAIT_S = 3600


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, is not safe to read, or does not fit the model."""


def is_url(source) -> bool:
    """Whether a source is an address and not a path."""
    return str(source).startswith(_SCHEMES)


def resolve_source(source: str) -> Path:
    """Path of a checkpoint: a file, the downloaded file of a URL, or one of a work dir, which the log names.

    Of a work dir that is the checkpoint its run declared best, when ``save_best`` was on, else the newest.

    Raises:
        CheckpointError: Nothing is there, several are the best, or the download failed.
    """
    if is_url(source):
        return download(str(source))
    path = Path(source)
    if path.is_dir():
        best = best_checkpoint(path)
        chosen = best or newest_checkpoint(path)
        if chosen is None:
            raise CheckpointError(f'{path} holds no last.pth: give the work dir of a run that saved a checkpoint, '
                                  'or a checkpoint file')
        print_log(f'From {path}: {chosen.name}, its {"best (save_best)" if best else "newest"} checkpoint',
                  logger='current')
        return chosen
    if not path.is_file():
        raise CheckpointError(f'checkpoint {source} does not exist')
    return path


def newest_checkpoint(work_dir: Path) -> Path | None:
    """Newest complete checkpoint inside a work dir, never one of another folder; None without any.

    The path in ``last_checkpoint`` may be that of the folder which this one was copied or moved from: its file name
    is enough.
    """
    pointer = Path(work_dir) / 'last_checkpoint'
    named = Path(pointer.read_text().strip()).name if pointer.is_file() else ''
    if named and pointer.with_name(named).is_file():
        return pointer.with_name(named)
    return _behind_link(pointer.with_name('last.pth'))


def best_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint that ``save_best`` declared best; None without any.

    Raises:
        CheckpointError: There are several, and no ``best.pth`` says which one counts.
    """
    linked = _behind_link(Path(work_dir) / 'best.pth')
    saved = [linked] if linked else sorted(Path(work_dir).glob('best_*.pth'))
    if len(saved) > 1:
        raise CheckpointError(f'{work_dir} holds several best checkpoints ({", ".join(p.name for p in saved)}): '
                              'give the file of one of them, or last.pth')
    return saved[0] if saved else None


def _behind_link(link: Path) -> Path | None:
    # by its real name, which says more; a copy stands where links are impossible
    target = link.with_name(os.readlink(link)) if link.is_symlink() else link
    return target if target.is_file() else None


def download(url: str) -> Path:
    """File of an ``http(s)`` or ``file`` address, from the cache if it is there.

    A checksum is compared where there is one: ``#sha256=<64 digits>`` after the address, or the beginning of one in
    the file name, as PyTorch writes it. The cache is ``checkpoints/`` in torch's hub folder (``TORCH_HOME``). Of
    several processes on a machine the first downloads and the others wait for it.

    Raises:
        CheckpointError: Not reachable, cut short, a web page instead of a file, or another checksum.
    """
    address, _, fragment = url.partition('#')
    path = _cache_path(address)
    digits = _expected_digits(fragment, path.name)
    if os.environ.get('LOCAL_RANK', '0') != '0':
        _wait_for(path, url)
    if not path.is_file():
        with whole_file(path) as draft:
            _fetch(address, draft)
            _check_digest(draft, digits, url)
    else:
        _check_digest(path, digits, f'{path} (from {url})')
    return path


def _cache_path(address: str) -> Path:
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or 'checkpoint'
    # files of different addresses often have the same name
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    return Path(torch.hub.get_dir()) / 'checkpoints' / f'{digest}_{name}'


def _expected_digits(fragment: str, name: str) -> str:
    if fragment.startswith('sha256='):
        digits = fragment.removeprefix('sha256=').lower()
        if not re.fullmatch('[0-9a-f]{64}', digits):
            raise CheckpointError(f'#{fragment}: a SHA-256 has 64 hexadecimal digits')
        return digits
    in_name = _HASH_IN_NAME.search(name)
    return in_name[1] if in_name else ''


def _check_digest(path: Path, digits: str, what: str) -> None:
    if digits and not (digest := file_sha256(path)).startswith(digits):
        raise CheckpointError(f'{what}: the SHA-256 should begin with {digits}, but is {digest}. The file was '
                              'replaced, or is damaged; nothing was loaded')


def _wait_for(path: Path, url: str) -> None:
    end = time.monotonic() + _WAIT_S
    while not path.is_file():
        if time.monotonic() > end:
            raise CheckpointError(f'{url}: the first process of this machine has not downloaded it within an hour')
        time.sleep(1)


def _fetch(address: str, target: Path) -> None:
    try:
        request = urllib.request.Request(address, headers={'User-Agent': 'egmim_mm'})
        with urllib.request.urlopen(request, timeout=60) as response:
            if response.headers.get_content_type() == 'text/html':
                raise CheckpointError(f'{address} is a web page, not a file: open it in a browser, download the '
                                      'checkpoint and give its path')
            size = int(response.headers.get('Content-Length') or 0)
            received = _copy(response, target, size, address)
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        raise CheckpointError(f'{address} cannot be downloaded: {error}') from error
    if size and received != size:
        raise CheckpointError(f'{address} was cut short: {received} of {size} bytes arrived. Try again')


def _copy(response, target: Path, size: int, address: str) -> int:
    received = 0
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with open(target, 'wb') as file, Progress(*columns, transient=True) as progress:
        task = progress.add_task(Path(address).name, total=size or None)
        while block := response.read(2**20):
            received += file.write(block)
            progress.update(task, completed=received)
    return received
