"""Addresses: downloaded once, checked, and never left half under the final name."""
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch

from egmim_mm.checkpoints import CheckpointError, describe_source, resolve_source
from egmim_mm.checkpoints.sources import download


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    return tmp_path / 'hub/checkpoints'


@pytest.fixture
def server(tmp_path, cache):
    """Web server of one checkpoint: ``/a.pth`` whole, ``/cut.pth`` half of it, ``/page`` a web page."""
    torch.save(dict(weight=torch.randn(1000)), tmp_path / 'a.pth')
    content = (tmp_path / 'a.pth').read_bytes()
    requests = []

    class Handler(BaseHTTPRequestHandler):

        def do_GET(self):
            requests.append(self.path)
            if self.path.startswith('/gone'):
                return self.send_error(404)
            self.send_response(200)
            self.send_header('Content-Type', 'text/html' if self.path == '/page' else 'application/octet-stream')
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content[:len(content) // 2] if 'cut' in self.path else content)

        def log_message(self, *args):
            return

    http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f'http://127.0.0.1:{http.server_port}', content=content, requests=requests,
                          sha256=hashlib.sha256(content).hexdigest())
    http.shutdown()
    http.server_close()


def left_over(cache):
    return sorted(p.name for p in cache.iterdir()) if cache.is_dir() else []


def test_downloaded_once(server, cache):
    first = resolve_source(f'{server.url}/a.pth')
    assert first.read_bytes() == server.content and first.parent == cache and first.name.endswith('_a.pth')
    assert resolve_source(f'{server.url}/a.pth') == first and server.requests == ['/a.pth']
    assert resolve_source(f'{server.url}/a.pth?v=2') != first  # another address is another file
    described = describe_source(f'{server.url}/a.pth')
    assert described['sha256'] == server.sha256 and described['url'] == f'{server.url}/a.pth'
    assert described['path'] == str(first)


def test_checksum(server, cache):
    path = download(f'{server.url}/a.pth#sha256={server.sha256}')
    assert path.read_bytes() == server.content
    with pytest.raises(CheckpointError, match='SHA-256 should begin with 0000.* nothing was loaded'):
        download(f'{server.url}/a.pth#sha256={"0" * 64}')
    with pytest.raises(CheckpointError, match='64 hexadecimal digits'):
        download(f'{server.url}/a.pth#sha256=123')
    assert download(f'{server.url}/net-{server.sha256[:8]}.pth').read_bytes() == server.content
    before = left_over(cache)
    with pytest.raises(CheckpointError, match='should begin with deadbeef'):
        download(f'{server.url}/net-deadbeef.pth')
    assert left_over(cache) == before
    path.write_bytes(b'damaged later')
    with pytest.raises(CheckpointError, match='or is damaged'):
        download(f'{server.url}/a.pth#sha256={server.sha256}')


@pytest.mark.parametrize('page, message', [
    ('cut.pth', r'was cut short: \d+ of \d+ bytes arrived'), ('gone.pth', 'cannot be downloaded: HTTP Error 404'),
    ('page', 'is a web page, not a file')])
def test_failures_leave_nothing(server, cache, page, message):
    with pytest.raises(CheckpointError, match=message):
        resolve_source(f'{server.url}/{page}')
    assert left_over(cache) == []


def test_unreachable(cache):
    with pytest.raises(CheckpointError, match='http://127.0.0.1:9/a.pth cannot be downloaded'):
        resolve_source('http://127.0.0.1:9/a.pth')


def test_file_address(server, tmp_path):
    assert resolve_source((tmp_path / 'a.pth').as_uri()).read_bytes() == server.content
    with pytest.raises(CheckpointError, match='cannot be downloaded'):
        resolve_source((tmp_path / 'b.pth').as_uri())


def test_other_processes_of_a_machine_wait_for_the_first(server, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.setattr('egmim_mm.checkpoints.sources._WAIT_S', 0)
    with pytest.raises(CheckpointError, match='the first process of this machine has not downloaded it'):
        download(f'{server.url}/a.pth')
    assert server.requests == []
    monkeypatch.setenv('LOCAL_RANK', '0')
    path = download(f'{server.url}/a.pth')
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert download(f'{server.url}/a.pth') == path and len(server.requests) == 1
