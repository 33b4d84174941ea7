"""dataset.json: what a converted data set was made from, and the journal that lets a stopped run go on."""
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from egmim_mm.records import write_whole
from egmim_mm.version import __version__

from .archives import ConversionError

__all__ = ['FOLDERS', 'JOURNAL', 'MANIFEST', 'append_result', 'claim', 'finish', 'holds_tiles_of', 'tile_files']

MANIFEST = 'dataset.json'
JOURNAL = '.converted.jsonl'  # one line for each source image whose tiles are complete
GENERATOR = 'egmim_mm dataset converter'
FOLDERS = ('img_dir', 'ann_dir', 'ann_dir_full')  # all that converters write


def holds_tiles_of(out: str | Path, settings: Mapping[str, Any], overwrite: bool = False) -> bool:
    """Whether ``out`` was begun with these settings; False if it is free, or to be replaced. Writes nothing.

    Raises:
        ConversionError: ``out`` holds another data set, or files that no converter wrote.
    """
    out, settings = Path(out), json.loads(json.dumps(settings))
    manifest = _read(out / MANIFEST)
    tiles = any((out / folder).exists() for folder in FOLDERS)
    if manifest is None or manifest.get('generator') != GENERATOR:
        if manifest is not None or tiles:
            raise ConversionError(f'{out} holds a data set that was not made by these converters; choose another '
                                  '--out')
        return False
    before = manifest.get('settings', {})
    differing = [key for key in settings if before.get(key) != settings[key]]
    if not differing and not overwrite:
        return True
    if tiles and not overwrite:
        told = ', '.join(f'{key} was {before.get(key)!r} and is {settings[key]!r}' for key in differing)
        raise ConversionError(f'{out} was converted with other settings ({told}); choose another --out, or '
                              'replace it with --overwrite')
    return False


def claim(out: str | Path, settings: Mapping[str, Any], overwrite: bool = False) -> dict[str, dict]:
    """Make ``out`` ours, or take up an earlier run that had the same settings.

    Args:
        out: Folder of the data set.
        settings: All that decides what the tiles are; JSON types.
        overwrite: Delete the tiles of an earlier run.

    Returns:
        Results of the source images that are complete, by 'split/name'.

    Raises:
        ConversionError: See :func:`holds_tiles_of`.
    """
    if not holds_tiles_of(out, settings, overwrite):
        for folder in FOLDERS:
            shutil.rmtree(Path(out, folder), ignore_errors=True)
        Path(out, JOURNAL).unlink(missing_ok=True)
    write_whole(Path(out, MANIFEST), _json(dict(generator=GENERATOR, complete=False, settings=settings)))
    _remove_drafts(Path(out))
    return _finished(Path(out))


def append_result(out: str | Path, result: Mapping[str, Any]) -> None:
    """Note that all tiles of a source image are on disk."""
    with open(Path(out, JOURNAL), 'a', encoding='utf-8') as file:
        file.write(json.dumps(result) + '\n')


def finish(out: str | Path, summary: Mapping[str, Any]) -> dict:
    """Write the complete manifest, with ``summary``, and return it."""
    manifest = dict(generator=GENERATOR, complete=True, egmim_mm=__version__, **summary,
                    settings=_read(Path(out, MANIFEST))['settings'])
    write_whole(Path(out, MANIFEST), _json(manifest))
    return manifest


def tile_files(out: Path, result: Mapping[str, Any]) -> Iterable[Path]:
    """All files a result speaks of."""
    for folder, suffix in result['suffixes'].items():
        for name in result['tiles']:
            yield out / folder / result['split'] / f'{name}{suffix}'
    for name in result.get('bare', ()):  # older runs have none
        yield out / 'img_dir/unlabeled' / f"{name}{result['suffixes']['img_dir']}"


def _finished(out: Path) -> dict[str, dict]:
    finished = {}
    if (out / JOURNAL).exists():
        for line in (out / JOURNAL).read_text(encoding='utf-8').splitlines():
            try:
                result = json.loads(line)
            except json.JSONDecodeError:  # the run was stopped while it wrote this line
                continue
            if all(path.exists() for path in tile_files(out, result)):
                finished[f"{result['split']}/{result['name']}"] = result
    return finished


def _remove_drafts(out: Path) -> None:
    """Delete what a killed run has left half written."""
    for folder in FOLDERS:
        for path in (out / folder).rglob('.[0-9]*.*'):
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict | None:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ConversionError(f'{path} is no JSON ({error}); choose another --out') from None


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b'\n'
