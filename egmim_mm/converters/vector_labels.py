"""Labels that were drawn in a GIS: points, lines and polygons with a class, from any vector format."""
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from egmim_mm.storage.mask_values import IGNORE

from .archives import ConversionError

__all__ = ['VectorLayer', 'digest_of', 'read_vectors']

FIELD = 'class'  # as maps of this package have it, too


@dataclass(frozen=True)
class VectorLayer:
    """A layer of a vector file.

    Args:
        name: File and layer, for messages.
        geometries: (N,) shapely: points, lines and polygons, also multiple ones; later ones win.
        numbers: (N,) uint8: class of each, 255 = no label.
        crs: Their coordinate system; None: the file names none.
    """

    name: str
    geometries: np.ndarray
    numbers: np.ndarray
    crs: CRS | None


def read_vectors(paths: Sequence[str | Path], field: str | None = None, classes: Sequence[str] = (),
                 ignore: Sequence[str] = ()) -> tuple[dict[str, str], list[VectorLayer]]:
    """All layers of vector files, in order.

    Args:
        paths: GeoPackage, GeoJSON, Shapefile, or what else GDAL reads.
        field: The field that says the class of a feature; None: 'class'.
        classes: Names of the classes as they stand in the field, or all 'NAME=VALUE of the field'. Empty: its sorted
            values.
        ignore: Values of the field that mean 'no label'.

    Returns:
        Name of each class -> its value in the field; and the layers.

    Raises:
        ConversionError: A file that cannot be read or is empty, has no such field or a class in no list, or a feature
            without class, or of another geometry.
    """
    layers = [layer for path in paths for layer in _layers(Path(path), field or FIELD)]
    held = {value for _, _, values, _ in layers for value in values} - set(ignore)
    named = _named(classes) if classes else {value: value for value in sorted(held, key=_order)}
    numbers = {value: number for number, value in enumerate(named.values())}
    if not 0 < len(named) < IGNORE or len(numbers) < len(named) or set(numbers) & set(ignore):
        raise ConversionError(f'--labels: {len(named)} classes ({", ".join(list(named)[:5])}); there must be 1 to '
                              f'{IGNORE - 1}, each with a value of its own that is not in --ignore')
    for name, _, values, _ in layers:
        unknown = sorted(set(values) - numbers.keys() - set(ignore))
        if unknown:
            raise ConversionError(f"{name}: features of the class '{unknown[0]}', which is not listed; --classes are "
                                  f'{", ".join(numbers)}; name it there, or in --ignore')
    numbers |= dict.fromkeys(ignore, IGNORE)
    return named, [VectorLayer(name, shapes, np.array([numbers[value] for value in values], np.uint8), crs)
                   for name, shapes, values, crs in layers]


def digest_of(layers: Sequence[VectorLayer]) -> str:
    """Hash of what layers hold: tells whether a second run sees the same labels."""
    digest = hashlib.blake2b(digest_size=12)
    for layer in layers:
        digest.update(repr(layer.crs and layer.crs.to_wkt()).encode() + layer.numbers.tobytes())
        digest.update(b''.join(shapely.to_wkb(layer.geometries)))
    return digest.hexdigest()


def _named(classes: Sequence[str]) -> dict[str, str]:
    """{name: value of the field}."""
    pairs = [(name, value if equals else name) for name, equals, value in (text.partition('=') for text in classes)]
    if len(dict(pairs)) < len(pairs) or not all(name and value for name, value in pairs):
        raise ConversionError(f'--classes {" ".join(classes)}: every class needs a name of its own')
    return dict(pairs)


def _layers(path: Path, field: str) -> list[tuple[str, np.ndarray, list[str], CRS | None]]:
    """Name, geometries, classes as text and coordinate system of each layer that has geometries."""
    try:
        names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        read = [(f'{path} ({name})' if len(names) > 1 else str(path), *_read(path, name, field)) for name in names]
    except (DataSourceError, DataLayerError, CRSError, shapely.errors.GEOSException) as error:
        raise ConversionError(f'{path}: labels that cannot be read ({error})') from error
    if not any(len(shapes) for _, shapes, _, _ in read):
        raise ConversionError(f'{path}: holds no feature; draw some labels')
    for name, shapes, values, _ in read:
        _check_features(name, shapes, values, field)
    return [(name, shapes, list(map(_text, values)), crs) for name, shapes, values, crs in read]


def _read(path: Path, layer: str, field: str) -> tuple[np.ndarray, Sequence, CRS | None]:
    fields = list(pyogrio.read_info(path, layer=layer)['fields'])
    meta, _, shapes, columns = pyogrio.raw.read(path, layer=layer, columns=[field], force_2d=True)
    shapes = np.empty(0, object) if shapes is None else shapely.from_wkb(shapes)
    if len(shapes) and field not in fields:
        raise ConversionError(f"{path}: layer '{layer}' has no field '{field}'; its fields are "
                              f'{", ".join(fields) or "none"}: name the one with the classes, --class-field NAME')
    crs = CRS.from_user_input(meta['crs']) if meta['crs'] else None
    return shapes, columns[0] if columns else [], crs


def _check_features(name: str, shapes: np.ndarray, values: Sequence, field: str) -> None:
    kinds = shapely.get_type_id(shapes)
    beyond = np.flatnonzero((kinds < 0) | (kinds > 6))  # 0..6: points, lines and polygons, single or multiple
    if len(beyond):
        shape = shapes[beyond[0]]
        what = 'has no geometry' if shape is None else f'is a {shape.geom_type}, which cannot be burnt'
        raise ConversionError(f'{name}: feature {beyond[0] + 1} {what}; draw points, lines or polygons')
    without = [number for number, value in enumerate(values, 1) if value is None or value != value or value == '']
    if without:
        raise ConversionError(f"{name}: {len(without)} of {len(values)} features have no '{field}', feature "
                              f'{without[0]} the first; give it one, or delete it')


def _text(value: Any) -> str:
    """A value of the field as people write it: '3', also of 3.0."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and value == int(value) else str(value)


def _order(value: str) -> tuple:
    return (0, int(value), '') if value.isdigit() else (1, 0, value)
