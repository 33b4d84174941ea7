"""Where a number comes from: file hashes, versions, commit, device; and JSON that is never half written."""
import hashlib
import json
import math
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .whole_files import write_whole

__all__ = ['device_description', 'file_sha256', 'git_state', 'package_versions', 'plain', 'write_json']

PACKAGES = ('torch', 'torchvision', 'numpy', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain',
            'onedl-mmsegmentation', 'egmim-mm')


def package_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages results depend on; None for one that is not installed."""
    versions: dict[str, str | None] = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def git_state() -> dict[str, Any] | None:
    """``{'commit': <hash>, 'modified': <bool>}`` of the checkout this package runs from.

    None outside a checkout: an installed package may lie below another project's repository, whose
    commit would say nothing about this code.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / '.git').exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(('git', '-C', str(root)) + arguments, check=True, capture_output=True,
                              text=True, timeout=20).stdout.strip()

    try:
        return dict(commit=git('rev-parse', 'HEAD'),
                    modified=bool(git('status', '--porcelain', '--untracked-files=no')))
    except (OSError, subprocess.SubprocessError):  # no git, or no commit yet
        return None


def device_description(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Type, name and number of the devices of a run, and the CPU threads of one process."""
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    else:
        name = platform.processor() or platform.machine()
    return dict(type=device.type, name=name, processes=processes, threads=torch.get_num_threads())


def plain(value: Any) -> Any:
    """The same value in JSON's types: NaN and infinities become None, unknown objects their text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):  # numpy and torch scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def write_json(path: str | Path, document: dict[str, Any]) -> None:
    """Write a JSON file in one step: a reader, or a crash, sees the old file or the new one."""
    write_whole(path, (json.dumps(plain(document), indent=2, allow_nan=False) + '\n').encode())


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(2**20), b''):
            digest.update(block)
    return digest.hexdigest()
