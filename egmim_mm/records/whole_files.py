"""Files that appear whole or not at all."""
import os
from pathlib import Path

__all__ = ['write_whole']


def write_whole(path: str | Path, content: bytes) -> None:
    """Write through a hidden temporary name, so that an interrupted run leaves no half file; makes the folder.

    Raises:
        OSError: The file cannot be written; nothing of it is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
