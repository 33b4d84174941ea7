"""From the values in published masks to the numbers in mask tiles."""
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from egmim_mm.storage.mask_values import IGNORE, MaskValues

from .archives import ConversionError

__all__ = ['LabelTable']


@dataclass(frozen=True)
class LabelTable:
    """Which number is written for which class.

    Args:
        values: Colours or numbers of the classes in the published masks.
        first: Number of class 0 in the tiles; class k is ``first + k``.
        ignored: Number of pixels without a label.
        max_stray: Values that are in no list become ``ignored`` and are counted, up to this share of a mask; beyond it
            they are an error.
        tolerance: A colour in no list becomes the nearest listed one, classes or ignored, if that is not further away
            in RGB (Euclidean, levels of 0..255): resaved masks are off by a level or two.
    """

    values: MaskValues
    first: int = 0
    ignored: int = IGNORE
    max_stray: float = 0.0
    tolerance: float = 0.0

    def recode(self, raw: np.ndarray, name: str,
               valid: np.ndarray | None = None) -> tuple[np.ndarray, dict[str, int], int]:
        """Numbers for the tiles.

        Args:
            raw: (H, W) numbers, or (H, W, 3) uint8 RGB.
            name: The file, for messages.
            valid: (H, W) bool; the other pixels become ``ignored`` whatever they hold. None: all.

        Returns:
            (H, W) uint8; {stray value: pixels}; number of pixels whose colour was taken for a near one.

        Raises:
            ConversionError: More unknown values than ``max_stray`` allows.
        """
        try:
            classes, unknown = self.values.classify(raw, valid)
            near = self._near(unknown)
            if near:
                packed = self.values.pack(raw)
                for color, number in near.items():
                    classes[packed == color] = number
        except ValueError as error:
            raise ConversionError(f'{name}: {error}') from None
        stray = {self.values.show(value): count for value, count in unknown.items() if value not in near}
        share = sum(stray.values()) / max(classes.size, 1)
        if share > self.max_stray:
            listed = ', '.join(f'{value} ({count} px)' for value, count in
                               sorted(stray.items(), key=lambda item: -item[1])[:8])
            raise ConversionError(f'{name}: {share:.2%} of the pixels have values that are not in the class list: '
                                  f'{listed}; the classes are {", ".join(map(self.values.show, self.values.values))}, '
                                  f'ignored {", ".join(map(self.values.show, self.values.ignore)) or "none"}')
        numbers = np.where(classes == IGNORE, self.ignored, classes + np.uint8(self.first)).astype(np.uint8)
        return numbers, stray, sum(unknown[color] for color in near)

    def _near(self, unknown: Mapping[int, int]) -> dict[int, int]:
        """{unknown colour: class or IGNORE} of those within the tolerance of a listed colour."""
        if not self.tolerance or not unknown:
            return {}
        listed = self.values.values + self.values.ignore
        numbers = [*range(len(self.values.values)), *[IGNORE] * len(self.values.ignore)]
        colors = np.array(list(unknown))
        distances = np.linalg.norm(_channels(colors)[:, None] - _channels(np.array(listed)), axis=-1)
        return {color: numbers[row.argmin()] for color, row in zip(colors.tolist(), distances)
                if row.min() <= self.tolerance}

    def count(self, labels: np.ndarray) -> np.ndarray:
        """Pixels of each class in what :meth:`recode` gave: (K,) int64."""
        number = len(self.values.values)
        counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
        return counts[self.first:self.first + number]


def _channels(packed: np.ndarray) -> np.ndarray:
    """(N,) packed colours -> (N, 3) float."""
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(float)
