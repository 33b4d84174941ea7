"""From a path to tensors: find the file, read it without running code, describe it."""
import hashlib
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from .errors import CheckpointError

# what torch.load raises on bytes that are no checkpoint: its unpickler checks little
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
               AssertionError, ImportError, MemoryError, OSError, struct.error)
# how torch names what is not on its list, and how _history_method does
_FORBIDDEN = re.compile(r'GLOBAL (\w[\w.]*)|(getattr\(.*\))')


def _allowed_globals() -> list:
    """What MMEngine's own checkpoints hold besides tensors: the log history and NumPy scalars and arrays."""
    multiarray = getattr(np, '_core', None) or np.core
    return [
        HistoryBuffer, (_history_method, 'builtins.getattr'), (_history_method, '__builtin__.getattr'),
        multiarray.multiarray._reconstruct, multiarray.multiarray.scalar, np.ndarray, np.dtype,
        *(type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_))
    ]


def _history_method(owner: type, name: str):
    """The one use of ``getattr`` in MMEngine's log history; anything else could reach arbitrary code."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r})')
    return getattr(HistoryBuffer, name)


def resolve_source(source: str) -> Path:
    """Path of a checkpoint: a file, or the newest checkpoint of a work dir.

    Raises:
        CheckpointError: Nothing is there.
    """
    path = Path(source)
    if path.is_dir():
        for candidate in (path / 'last.pth', _named_in(path / 'last_checkpoint')):
            if candidate is not None and candidate.is_file():
                return candidate
        raise CheckpointError(f'{path} holds no last.pth: give the work dir of a run that saved a checkpoint, '
                              'or a checkpoint file')
    if not path.is_file():
        raise CheckpointError(f'checkpoint {source} does not exist')
    return path


def _named_in(pointer: Path):
    # the recorded path may be from another machine; the file name is enough
    name = Path(pointer.read_text().strip()).name if pointer.is_file() else ''
    return pointer.with_name(name) if name else None


def read_checkpoint(path: Path, trust: bool = False) -> dict[str, Any]:
    """Read a ``.pth`` file with weights-only unpickling: no code in the file is run.

    Args:
        path (Path): File.
        trust (bool): Unpickle everything. Only for files whose author you trust.

    Raises:
        CheckpointError: Corrupt or truncated file, or one that needs full unpickling.
    """
    try:
        with torch.serialization.safe_globals(_allowed_globals()):
            checkpoint = torch.load(path, map_location='cpu', weights_only=not trust)
    except _UNREADABLE as error:
        forbidden = _FORBIDDEN.search(str(error))
        if forbidden:
            raise CheckpointError(
                f'{path} holds more than weights ({forbidden[1] or forbidden[2]}), and reading it could run '
                'code; refused. '
                'If you trust its author, say so explicitly (trust=True).') from error
        # torch's advice to unpickle everything would be a bad one here
        reason = '' if isinstance(error, pickle.UnpicklingError) else f': {type(error).__name__}: {error}'
        raise CheckpointError(f'{path} is not a readable checkpoint, or is truncated{reason}') from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'{path} holds a {type(checkpoint).__name__}, not a dictionary of weights')
    return checkpoint


def file_sha256(path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(2**20), b''):
            digest.update(block)
    return digest.hexdigest()


def describe_source(source: str) -> dict[str, Any]:
    """Identity of a checkpoint for ``results.json`` and for the lineage of runs that start from it.

    Returns:
        dict: ``path``, ``sha256`` and ``lineage`` (one entry per run its weights went through; empty for
        foreign weights).
    """
    path = resolve_source(source)
    meta = read_checkpoint(path).get('meta')
    lineage = meta.get('lineage', []) if isinstance(meta, dict) else []
    return dict(path=str(path), sha256=file_sha256(path), lineage=lineage)
