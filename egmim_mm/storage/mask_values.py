"""From the values in mask files (indices or colours) to class numbers."""
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .tile_reading import TileReadError, read_raw

__all__ = ['IGNORE', 'MaskValues', 'parse_color', 'read_mask']

IGNORE = 255  # the class number of pixels without a label
_TABLE_SIZE = {'index': 2**16, 'color': 2**24}


@dataclass(frozen=True)
class MaskValues:
    """Value table of a data set's masks. Immutable and small, so that samples can carry it.

    Args:
        mask_format (str): ``index``: single-channel files. ``color``: RGB or palette files.
        values (tuple): File value of each class, in class order: ints in [0, 65535] for ``index``,
            '#RRGGBB' or (R, G, B) for ``color``.
        ignore (tuple): File values that become 255. In index masks 255 itself does, too, unless
            ``values`` lists it.

    Raises:
        ValueError: A malformed value, or one that is listed twice.
    """

    mask_format: str
    values: tuple
    ignore: tuple = ()

    def __post_init__(self) -> None:
        if self.mask_format not in _TABLE_SIZE:
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

    def to_classes(self, raw: np.ndarray) -> np.ndarray:
        """Map file values to classes.

        Args:
            raw (np.ndarray): (H, W) integers for ``index``, (H, W, 3) uint8 RGB for ``color``.

        Returns:
            np.ndarray: (H, W) uint8: 0..K-1 and 255.

        Raises:
            ValueError: A wrong shape or a value that is in neither list, with the number of its pixels.
        """
        classes, unknown = self.classify(raw)
        if unknown:
            listed = ', '.join(f'{self.show(v)} ({c} px)' for v, c in list(unknown.items())[:8])
            more = f' and {len(unknown) - 8} more' if len(unknown) > 8 else ''
            allowed = ', '.join(self.show(v) for v in self.values)
            ignored = ', '.join(self.show(v) for v in self.ignore) or 'none'
            raise ValueError(f'values that are not in the class list: {listed}{more}; mask_values are '
                             f'{allowed}, ignore_values {ignored}')
        return classes

    def classify(self, raw: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
        """As :meth:`to_classes`, but values in neither list become 255 and are counted.

        Returns:
            tuple: (H, W) uint8 classes; {file value: pixels} of the unknown values, ascending.

        Raises:
            ValueError: A wrong shape or type.
        """
        packed = self._pack(raw)
        table = _lookup_table(self)
        # Out-of-table numbers (32-bit masks) are unknown: keep them from wrapping round.
        known = packed if packed.max(initial=0) < len(table) else np.where(packed < len(table), packed, 0)
        stored = table[known]
        unknown = (stored == 0) | (known != packed)
        counted = {}
        if unknown.any():
            stored = np.where(unknown, IGNORE + 1, stored)
            found, counts = np.unique(packed[unknown], return_counts=True)
            counted = dict(zip(found.tolist(), counts.tolist()))
        return (stored - 1).astype(np.uint8), counted

    def _pack(self, raw: np.ndarray) -> np.ndarray:
        """One non-negative integer per pixel, (H, W)."""
        if self.mask_format == 'index':
            if raw.ndim != 2:
                raise ValueError(f"a mask with {raw.shape[-1]} channels; use mask_format='color' for colours")
            if not np.issubdtype(raw.dtype, np.integer) or raw.min(initial=0) < 0:
                raise ValueError(f'mask samples of type {raw.dtype} are not class indices')
            return raw
        red, green, blue = (raw[..., i].astype(np.int32) for i in range(3))
        return red << 16 | green << 8 | blue


@lru_cache(maxsize=8)
def _lookup_table(values: MaskValues) -> np.ndarray:
    """File value -> class + 1, 0 for unknown values (pages never touched cost no memory)."""
    table = np.zeros(_TABLE_SIZE[values.mask_format], dtype=np.uint16)
    for number, value in enumerate(values.values):
        table[value] = number + 1
    table[list(values.ignore)] = IGNORE + 1
    return table


def read_mask(path: str, values: MaskValues, backend_args: dict | None = None) -> np.ndarray:
    """Read a mask file as classes: (H, W) uint8, 0..K-1 and 255.

    Raises:
        TileReadError: The file cannot be read, or holds values that are not in the class list; the
            message names the file and the values.
    """
    raw = read_raw(path, values.mask_format == 'color', backend_args)
    try:
        return values.to_classes(raw)
    except ValueError as error:
        raise TileReadError(f'{path}: {error}') from None


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
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**16:
        raise ValueError(f"mask value {value!r} is not an integer in [0, 65535]; for colours set "
                         "mask_format='color'")
    return int(value)
