"""Files that appear whole or not at all."""
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['whole_file', 'write_whole']


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A hidden file beside ``path`` to write to, which becomes ``path`` at the end; makes the folder.

    An interrupted run leaves no half file, and a reader sees the old file or the new one. The hidden name keeps the
    suffix, by which many libraries choose the format, and is that of one call: processes of several machines may write
    the same path.

    Raises:
        OSError: The file cannot be written; nothing of it is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{os.getpid()}{secrets.randbelow(10**6):06}.{path.name}')
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file through :func:`whole_file`; text as UTF-8.

    Raises:
        OSError: The file cannot be written; nothing of it is left.
    """
    with whole_file(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
