"""Which classes an image shows, said by a person for the image as a whole: JSON or CSV files."""
import csv
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

__all__ = ['check_tagged', 'read_tags']


def read_tags(path: str | Path, classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Numbers of the classes that tiles show.

    Args:
        path: JSON: ``{"tile name": ["class", ...], ...}``. CSV: a tile name and its classes in each line; a first line
            that begins with ``tile`` is a heading.
        classes: Names of the classes, in order.

    Returns:
        Tile name -> numbers, ascending.

    Raises:
        ValueError: No such file, another format, a tile twice or without a class, or a class that is none.
    """
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
        tags = _from_json(text) if str(path).lower().endswith('.json') else _from_csv(text)
    except (OSError, ValueError) as error:
        raise ValueError(f'tags {path}: cannot be read ({error}); give a JSON object {{"tile name": ["class", ...]}}, '
                         'or CSV lines of a tile name and its classes') from None
    for tile, names in tags.items():
        unknown = [name for name in names if name not in classes]
        if unknown or not names:
            told = f'has the class {unknown[0]!r}' if unknown else 'has no class'
            raise ValueError(f"tags {path}: tile '{tile}' {told}; the classes are {', '.join(classes)}")
    return {tile: tuple(sorted({classes.index(name) for name in names})) for tile, names in tags.items()}


def check_tagged(path: str | Path, tags: Mapping[str, Sequence[int]], tiles: Collection[str]) -> None:
    """Raise a ValueError if a tile with tags is none of the tiles there are."""
    unknown = [tile for tile in tags if tile not in tiles]
    if unknown:
        raise ValueError(f"tags {path}: {len(unknown)} of {len(tags)} tiles are unknown, such as '{unknown[0]}'; names "
                         f"have no suffix and count from the image folder, as '{min(tiles)}' does")


def _from_json(text: str) -> dict[str, list[str]]:
    tags = json.loads(text, object_pairs_hook=_unique)
    if not isinstance(tags, dict) or not all(isinstance(names, list) for names in tags.values()):
        raise ValueError('no object of lists')
    return tags


def _from_csv(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    if rows and rows[0][0] == 'tile':
        rows = rows[1:]
    return _unique([(row[0], [name for name in row[1:] if name]) for row in rows])


def _unique(pairs: Sequence[tuple[str, list[str]]]) -> dict[str, list[str]]:
    tags = dict(pairs)
    if len(tags) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands in it twice")
    return tags
