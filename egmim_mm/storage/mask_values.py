"""From the values in mask files (indices or colours) to class numbers."""
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .tile_reading import TileReadError, read_tagged

__all__ = ['IGNORE', 'MaskValues', 'count_classes', 'parse_color', 'read_mask']

IGNORE = 255  # the class number of pixels without a label
_RANGES = {'index': (-2**15, 2**16), 'color': (0, 2**24)}  # file values, from ... to below


@dataclass(frozen=True)
class MaskValues:
    """Value table of a data set's masks. Immutable and small, so that samples can carry it.

    Args:
        mask_format: ``index``: single-channel files, whole numbers of any type. ``color``: RGB or palette files.
        values: File value of each class, in class order: integers in [-32768, 65535] for ``index``, '#RRGGBB' or (R, G,
            B) for ``color``.
        ignore: File values that become 255. In index masks 255 itself and NaN do, too, unless ``values`` lists it.

    Raises:
        ValueError: A malformed value, or one that is listed twice.
    """

    mask_format: str
    values: tuple
    ignore: tuple = ()

    def __post_init__(self) -> None:
        if self.mask_format not in _RANGES:
            raise ValueError(f"mask_format '{self.mask_format}' is unknown; there are index and color")
        parse = _parse_index if self.mask_format == 'index' else parse_color
        values = tuple(parse(value) for value in self.values)
        ignore = tuple(parse(value) for value in self.ignore)
        for value in values + ignore:
            if (values + ignore).count(value) > 1:
                raise ValueError(f'mask value {self.show(value)} is listed more than once in mask_values and '
                                 'ignore_values')
        if not 0 < len(values) < IGNORE:
            raise ValueError(f'{len(values)} classes; masks can hold 1 to {IGNORE - 1}')
        if self.mask_format == 'index' and IGNORE not in values + ignore:
            ignore += (IGNORE,)
        object.__setattr__(self, 'values', values)
        object.__setattr__(self, 'ignore', ignore)

    def show(self, value: int) -> str:
        """A file value as people write it: '7' or '#3C1098'."""
        return f'#{value:06X}' if self.mask_format == 'color' else str(value)

    def to_classes(self, raw: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Map file values to classes.

        Args:
            raw: (H, W) whole numbers for ``index``, (H, W, 3) uint8 RGB for ``color``.
            valid: (H, W) bool; the other pixels become 255 whatever they hold. None: all.

        Returns:
            (H, W) uint8: 0..K-1 and 255.

        Raises:
            ValueError: A wrong shape or a value that is in neither list, with the number of its pixels.
        """
        classes, unknown = self.classify(raw, valid)
        if unknown:
            listed = ', '.join(f'{self.show(v)} ({c} px)' for v, c in list(unknown.items())[:8])
            more = f' and {len(unknown) - 8} more' if len(unknown) > 8 else ''
            allowed = ', '.join(self.show(v) for v in self.values)
            ignored = ', '.join(self.show(v) for v in self.ignore) or 'none'
            raise ValueError(f'values that are not in the class list: {listed}{more}; mask_values are '
                             f'{allowed}, ignore_values {ignored}')
        return classes

    def classify(self, raw: np.ndarray, valid: np.ndarray | None = None) -> tuple[np.ndarray, dict[int, int]]:
        """As :meth:`to_classes`, but values in neither list become 255 and are counted.

        Args:
            raw, valid: As in :meth:`to_classes`.

        Returns:
            (H, W) uint8 classes; {file value: pixels} of the unknown values, ascending.

        Raises:
            ValueError: A wrong shape or type.
        """
        if np.issubdtype(raw.dtype, np.floating):
            valid = ~np.isnan(raw) if valid is None else valid & ~np.isnan(raw)
            raw = np.where(valid, raw, 0)
        packed = self.pack(raw)
        table, first = _lookup_table(self), _RANGES[self.mask_format][0]
        if self.mask_format == 'color' or np.issubdtype(packed.dtype, np.unsignedinteger):
            places, table = packed, table[-first:]  # from value 0 on
        else:
            places = packed.astype(np.int64) - first
        # Numbers out of the table (32-bit masks) are unknown: keep them from wrapping round.
        known = places
        if places.size and (places.max() >= len(table) or places.min() < 0):
            known = np.where((places >= 0) & (places < len(table)), places, 0)
        stored = table[known]
        unknown = (stored == 0) | (known != places)
        if valid is not None:
            unknown &= valid
            stored = np.where(valid, stored, IGNORE + 1)
        counted = {}
        if unknown.any():
            stored = np.where(unknown, IGNORE + 1, stored)
            strange, counts = np.unique(packed[unknown], return_counts=True)
            counted = dict(zip(strange.tolist(), counts.tolist()))
        return (stored - 1).astype(np.uint8), counted

    def pack(self, raw: np.ndarray) -> np.ndarray:
        """One integer per pixel, (H, W); raises ValueError as :meth:`classify`."""
        if self.mask_format == 'color':
            red, green, blue = (raw[..., i].astype(np.int32) for i in range(3))
            return red << 16 | green << 8 | blue
        if raw.ndim != 2:
            raise ValueError(f"a mask with {raw.shape[-1]} channels; use mask_format='color' for colours")
        if np.issubdtype(raw.dtype, np.floating):
            with np.errstate(invalid='ignore'):
                whole = raw.astype(np.int64)
            parts = whole != raw
            if parts.any():
                raise ValueError(f'mask samples of type {raw.dtype} that are no whole numbers, such as '
                                 f'{raw[parts][0]:g}, are not class indices')
            return whole
        return raw


@lru_cache(maxsize=8)
def _lookup_table(values: MaskValues) -> np.ndarray:
    """File value, from the lowest on -> class + 1, 0 for unknown values (pages never touched cost no memory)."""
    first, last = _RANGES[values.mask_format]
    table = np.zeros(last - first, dtype=np.uint16)
    for number, value in enumerate(values.values):
        table[value - first] = number + 1
    table[np.asarray(values.ignore, np.int64) - first] = IGNORE + 1
    return table


def read_mask(path: str, values: MaskValues, backend_args: dict | None = None) -> np.ndarray:
    """Read a mask file as classes: (H, W) uint8, 0..K-1 and 255.

    The no-data tag of a TIFF means 255, unless ``values`` lists it as a class.

    Raises:
        TileReadError: The file cannot be read, or holds values that are not in the class list; the message names the
            file and the values.
    """
    raw, nodata = read_tagged(path, values.mask_format == 'color', backend_args)
    tagged = nodata is not None and values.mask_format == 'index' and nodata not in values.values
    try:
        return values.to_classes(raw, raw != nodata if tagged else None)
    except ValueError as error:
        raise TileReadError(f'{path}: {error}') from None


def count_classes(paths: Sequence[str], values: MaskValues) -> np.ndarray:
    """Pixels of each class in each mask, (N, K) int64; raises as :func:`read_mask`."""
    return np.stack([np.bincount(read_mask(path, values).ravel(), minlength=IGNORE + 1)[:len(values.values)]
                     for path in paths])


def parse_color(value: str | Sequence[int] | int) -> int:
    """'#RRGGBB', (R, G, B) or a packed integer -> R << 16 | G << 8 | B."""
    if isinstance(value, str) and re.fullmatch(r'#?[0-9a-fA-F]{6}', value):
        return int(value.lstrip('#'), 16)
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3 \
            and all(0 <= int(v) <= 255 for v in value):
        return int(value[0]) << 16 | int(value[1]) << 8 | int(value[2])
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**24:
        return value
    raise ValueError(f"mask colour {value!r} is neither '#RRGGBB' nor three numbers in 0..255")


def _parse_index(value: int) -> int:
    first, last = _RANGES['index']
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not first <= value < last:
        raise ValueError(f"mask value {value!r} is not an integer in [{first}, {last - 1}]; for colours set "
                         "mask_format='color'")
    return int(value)
