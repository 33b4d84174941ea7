"""From a path to tensors, without running code in the file."""
import argparse
import json
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import safe_open

from .sources import CheckpointError

# how torch names what is not on its list, and how _history_method does
_FORBIDDEN = re.compile(r'GLOBAL (\w[\w.]*)|(getattr\(.*\))')


def _allowed_globals() -> list:
    """What checkpoints hold besides tensors and can be built without running foreign code.

    MMEngine's own: the log history, NumPy scalars and arrays. Those of Swin, SimMIM and timm: settings of the run,
    of which a yacs configuration is read as a plain dictionary.
    """
    multiarray = getattr(np, '_core', None) or np.core
    return [
        HistoryBuffer, (_history_method, 'builtins.getattr'), (_history_method, '__builtin__.getattr'),
        multiarray.multiarray._reconstruct, multiarray.multiarray.scalar, np.ndarray, np.dtype,
        *(type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_)),
        argparse.Namespace, (OrderedDict, 'yacs.config.CfgNode')
    ]


def _history_method(owner: type, name: str):
    """The one use of ``getattr`` in MMEngine's log history; anything else could reach arbitrary code."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r})')
    return getattr(HistoryBuffer, name)


def read_checkpoint(path: Path, trust: bool = False) -> dict[str, Any]:
    """Read a ``.pth`` or ``.pt`` file with weights-only unpickling, or a ``.safetensors`` file: no code is run.

    Args:
        path: File.
        trust: Unpickle everything. Only for files whose author you trust.

    Returns:
        As saved; of a ``.safetensors`` file ``state_dict`` and ``meta``.

    Raises:
        CheckpointError: Corrupt or truncated file, or one that needs full unpickling.
    """
    if Path(path).suffix == '.safetensors':
        return _read_safetensors(path)
    try:
        with torch.serialization.safe_globals(_allowed_globals()):
            checkpoint = torch.load(path, map_location='cpu', weights_only=not trust)
    except Exception as error:  # on damaged bytes torch.load raises nearly anything: its unpickler checks little
        forbidden = _FORBIDDEN.search(str(error))
        if forbidden:
            names = ', '.join(_names_asked_for(path) or [forbidden[1] or forbidden[2]])
            raise CheckpointError(
                f'{path} holds more than weights ({names}), and reading it could run code; refused. If you trust its '
                'author, say so explicitly (--trust-checkpoint, or trust=True).') from error
        # torch's advice to unpickle everything would be a bad one here
        reason = '' if isinstance(error, pickle.UnpicklingError) else f': {type(error).__name__}: {error}'
        raise CheckpointError(f'{path} is not a readable checkpoint, or is truncated{reason}') from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'{path} holds a {type(checkpoint).__name__}, not a dictionary of weights')
    return checkpoint


def _names_asked_for(path: Path) -> list[str]:
    """All names beyond the allowed ones that a file would import; empty where torch cannot list them."""
    try:
        with torch.serialization.safe_globals(_allowed_globals()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an old format, or damaged as well: the first name is known from the error
        return []


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            state_dict = {key: file.get_tensor(key) for key in file.keys()}
    except Exception as error:  # as above
        raise CheckpointError(f'{path} is not a readable checkpoint, or is truncated: {error}') from error
    try:
        lineage = json.loads(metadata.get('lineage', '[]'))
    except ValueError:
        lineage = []
    return dict(state_dict=state_dict, meta=dict(metadata, lineage=lineage))
