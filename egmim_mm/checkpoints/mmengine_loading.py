"""MMEngine's own loading of checkpoints (resume, test, ``Pretrained``) through our safe reader."""
from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader

from .reading import read_checkpoint
from .sources import CheckpointError, resolve_source


def load_weights_only(trust: bool = False) -> None:
    """Make MMEngine read every checkpoint with :func:`read_checkpoint` in this process.

    MMEngine unpickles a file that is not safe to read, and its list of safe names has ``getattr``. Addresses
    of model zoos (``open-mmlab://`` and the like) are refused, as they go the same way.

    Args:
        trust: Unpickle everything after all.
    """

    def load_from_safely(filename: str, map_location=None) -> dict[str, Any]:
        if '://' in filename and not filename.startswith(('http://', 'https://', 'file://')):
            raise CheckpointError(f'{filename}: only files and http(s) addresses are read')
        return read_checkpoint(resolve_source(str(Path(filename).expanduser()) if '://' not in filename else filename),
                               trust)

    for prefix in list(CheckpointLoader._schemes):
        CheckpointLoader.register_scheme(prefix, load_from_safely, force=True)
