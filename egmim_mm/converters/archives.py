"""Downloads: zip files, or the folders they were unpacked to. Zip files are read in place, never unpacked."""
import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    'ConversionError', 'Member', 'archive_hashes', 'file_digest', 'find_archives', 'fingerprint', 'list_members',
    'match_members'
]


class ConversionError(ValueError):
    """A download, a raster or a target folder that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Args:
        archive: Zip file or folder.
        name: Path inside, with '/'.
        size: Bytes.
    """

    archive: str
    name: str
    size: int

    def __str__(self) -> str:
        return f'{self.archive}/{self.name}'

    def read(self) -> bytes:
        """Content of the file.

        Raises:
            ConversionError: It is damaged or cannot be read.
        """
        try:
            if os.path.isdir(self.archive):
                return Path(self.archive, self.name).read_bytes()
            with zipfile.ZipFile(self.archive) as file:
                return file.read(self.name)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise ConversionError(f'{self}: cannot be read ({error}); download {Path(self.archive).name} '
                                  'again') from error


def find_archives(folder: str | Path, name: str) -> list[str]:
    """``NAME.zip`` below a folder, or else the folders ``NAME``; names without case, ``name`` may hold ``*``."""
    pattern = re.compile(re.escape(name).replace(r'\*', '[^/]*'), re.IGNORECASE)
    zips, folders = [], []
    for base, below, files in os.walk(folder):
        below.sort()
        zips += [os.path.join(base, f) for f in sorted(files)
                 if f.lower().endswith('.zip') and pattern.fullmatch(f[:-4])]
        folders += [os.path.join(base, f) for f in below if pattern.fullmatch(f)]
    return zips or folders


def list_members(archive: str) -> list[Member]:
    """Files of a zip file or folder, sorted by name.

    Raises:
        ConversionError: A truncated zip file, or one with a path that points outside of it.
    """
    if os.path.isdir(archive):
        files = [path for path in Path(archive).rglob('*') if path.is_file()]
        return sorted((Member(archive, path.relative_to(archive).as_posix(), path.stat().st_size)
                       for path in files), key=lambda member: member.name)
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [entry for entry in file.infolist() if not entry.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise ConversionError(f'{archive}: not a complete zip file ({error}, {os.path.getsize(archive)} bytes); '
                              'download it again') from error
    for entry in entries:
        if _points_outside(entry.filename):
            raise ConversionError(f"{archive}: holds the path '{entry.filename}', which points outside the archive; "
                                  'this is not the published file')
    return sorted((Member(archive, entry.filename, entry.file_size) for entry in entries),
                  key=lambda member: member.name)


def match_members(members: Iterable[Member], pattern: str) -> dict[str, Member]:
    """Members whose path matches, by what the pattern's first group holds; no group: by the stem.

    Raises:
        ConversionError: Two files of the same name.
    """
    named: dict[str, Member] = {}
    for member in members:
        match = re.search(pattern, member.name)
        if match is None or '__MACOSX' in member.name:
            continue
        key = match[1] if match.groups() else Path(member.name).stem
        if key in named:
            raise ConversionError(f"two files are called '{key}': {named[key]} and {member}; remove one")
        named[key] = member
    return named


def fingerprint(members: Iterable[Member]) -> str:
    """Hash of names and sizes: tells whether a second run sees the same files."""
    lines = sorted(f'{member.name}\x1f{member.size}' for member in members)
    return hashlib.blake2b('\n'.join(lines).encode(), digest_size=12).hexdigest()


def archive_hashes(archives: Sequence[str], progress: Callable[[Iterable], Iterable] = iter) -> list[dict]:
    """Name, bytes and SHA-256 of zip files (``progress`` wraps the loop); of folders the name alone.

    The files of a folder are hashed when they are converted.
    """
    return [dict(folder=Path(archive).name) if os.path.isdir(archive) else dict(
        file=Path(archive).name, bytes=os.path.getsize(archive), sha256=file_digest(archive))
            for archive in progress(archives)]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; without the torch that ``records.provenance`` imports."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _points_outside(name: str) -> bool:
    parts = name.replace('\\', '/').split('/')
    return '..' in parts or parts[0] == '' or ':' in parts[0]
