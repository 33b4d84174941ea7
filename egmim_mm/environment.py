"""Can the package work in this Python environment? And: quiet the stack's known import noise.

The checks read the metadata of installed distributions and import none of them, so they also
work, and say what to do, where importing torch or OpenMMLab would fail with something unreadable.
"""
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from importlib import metadata
from pathlib import Path

from .processes import end_at_once_when_stopped

__all__ = ['SHIPPED', 'EnvironmentProblem', 'check_environment', 'find_problems', 'quiet_imports']

_PACKAGE = Path(__file__).resolve().parent
# Where configs/ and tools/ are: inside an installed package, beside the package of a clone.
SHIPPED = _PACKAGE / '.mim' if (_PACKAGE / '.mim').is_dir() else _PACKAGE.parent

# Original OpenMMLab distribution -> the maintained one that installs the same import package. With
# both installed, whichever came last has overwritten files of the other.
REPLACED_BY = {
    'mmcv': 'onedl-mmcv',
    'mmcv-full': 'onedl-mmcv',
    'mmcv-lite': 'onedl-mmcv',
    'mmengine': 'onedl-mmengine',
    'mmengine-lite': 'onedl-mmengine',
    'mmpretrain': 'onedl-mmpretrain',
    'mmsegmentation': 'onedl-mmsegmentation',
}
REQUIRED = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation',
            'onedl-mmpretrain')

# Warnings that tell a user of this package nothing: each entry is the start of the message.
_KNOWN_WARNINGS = (
    # mmcv without compiled operators; nothing here uses them.
    'Fail to import ``MultiScaleDeformableAttention``',
)
# Lines that mmseg and mmpretrain print, rather than log, while they are imported.
_KNOWN_PRINTS = (
    # An optional dataset service of the maintainers.
    'Could not import OneDL',
)
_QUIET_MARK = '_egmim_mm_quiet'


class EnvironmentProblem(ImportError):
    """The installed distributions do not fit together; the message says which and what to run."""


def check_environment() -> None:
    """Raise when distributions are missing, mixed or mismatched.

    Raises:
        EnvironmentProblem: with one paragraph for each problem, and the pip commands that solve it.
    """
    installed = _installed_versions((*REPLACED_BY, *REQUIRED))
    needs = (metadata.requires('torchvision') or ()) if 'torchvision' in installed else ()
    problems = find_problems(installed, needs)
    if problems:
        raise EnvironmentProblem('\n\n'.join(
            ['egmim_mm cannot work in this Python environment.', *problems]))


def find_problems(installed: Mapping[str, str], torchvision_needs: Iterable[str] = ()) -> list[str]:
    """Problems of a set of installed distributions, as paragraphs for a person.

    Args:
        installed: distribution name, lower case with hyphens -> version; others are ignored.
        torchvision_needs: requirements of the installed torchvision: ``'torch (==2.11.0)'``.

    Returns:
        One text for each problem, with the commands that solve it; empty when all is well.
    """
    checks = (_originals(installed), _missing(installed),
              _mismatched_pair(installed, torchvision_needs))
    return [problem for problem in checks if problem]


def quiet_imports() -> None:
    """Silence the import noise of mmcv, mmseg and mmpretrain that is known to mean nothing.

    Tools call it before they are first imported. Only the listed messages are dropped, everything else
    still shows. A Ctrl-C from here on ends with one line. Calling it again changes nothing.
    """
    end_at_once_when_stopped()
    from mmengine import logging as mmengine_logging  # here: it imports torch

    for message in _KNOWN_WARNINGS:
        warnings.filterwarnings('ignore', message=re.escape(message))
    if not hasattr(mmengine_logging.print_log, _QUIET_MARK):
        mmengine_logging.print_log = _without_known_prints(mmengine_logging.print_log)


def _without_known_prints(print_log: Callable[..., None]) -> Callable[..., None]:

    @wraps(print_log)
    def quiet_print_log(msg, logger=None, *args, **kwargs):
        # Without a logger mmengine prints whatever the level says, so the level cannot silence it.
        if logger is None and msg in _KNOWN_PRINTS:
            return
        print_log(msg, logger, *args, **kwargs)

    setattr(quiet_print_log, _QUIET_MARK, True)
    return quiet_print_log


def _installed_versions(names: Iterable[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            # A half-removed distribution has a folder and no version: present all the same.
            versions[name] = metadata.version(name) or 'unknown'
        except metadata.PackageNotFoundError:
            continue
    return versions


def _originals(installed: Mapping[str, str]) -> str | None:
    originals = [name for name in REPLACED_BY if name in installed]
    if not originals:
        return None
    replacements = sorted({REPLACED_BY[name] for name in originals})
    damaged = [name for name in replacements if name in installed]
    absent = [name for name in replacements if name not in installed]
    lines = ['Original OpenMMLab distributions are installed: '
             f'{", ".join(f"{name} {installed[name]}" for name in originals)}. This package needs the '
             'maintained ones, which install the same import names.']
    if damaged:
        lines[0] += f' Files of {", ".join(damaged)} have been overwritten or will be lost.'
    lines[0] += ' Run:'
    lines.append(f'  pip uninstall -y {" ".join(originals)}')
    if damaged:  # forced because pip believes them intact, without dependencies because those are
        lines.append(f'  pip install --force-reinstall --no-deps {" ".join(damaged)}')
    if absent:
        lines.append(f'  pip install {" ".join(absent)}')
    return '\n'.join(lines)


def _missing(installed: Mapping[str, str]) -> str | None:
    # What replaces an original is already named in that paragraph.
    named = {REPLACED_BY[name] for name in REPLACED_BY if name in installed}
    missing = [name for name in REQUIRED if name not in installed and name not in named]
    if not missing:
        return None
    # torch and torchvision in one command, the present one pinned: pip then picks its partner.
    pair = [f'{name}=={installed[name]}' if name in installed else name for name in REQUIRED[:2]]
    others = [name for name in missing if name not in REQUIRED[:2]]
    names = (pair if len(others) < len(missing) else []) + others
    return f'Not installed: {", ".join(missing)}. Run:\n  pip install {" ".join(names)}'


def _mismatched_pair(installed: Mapping[str, str], torchvision_needs: Iterable[str]) -> str | None:
    if 'torch' not in installed or 'torchvision' not in installed:
        return None
    wanted = _pinned_torch(torchvision_needs)
    have = installed['torch']
    # A pin without a local part ('+cu130') fits every build of that release.
    if wanted is None or wanted in (have, have.split('+')[0]):
        return None
    vision = installed['torchvision']
    return (f'torch {have} and torchvision {vision} do not belong together: this torchvision was '
            f'built for torch {wanted}. Compiled operators would be missing or crash. Run one of:\n'
            f'  pip install torch=={have.split("+")[0]} torchvision\n'
            f'  pip install torch=={wanted} torchvision=={vision.split("+")[0]}')


def _pinned_torch(requirements: Iterable[str]) -> str | None:
    for requirement in requirements:
        match = re.match(r'torch\s*\(?\s*==\s*([^\s;,)]+)', requirement)
        if match:
            return match.group(1)
    return None
