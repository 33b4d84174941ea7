"""From the values in published masks to the numbers in mask tiles."""
from dataclasses import dataclass

import numpy as np

from egmim_mm.storage.mask_values import IGNORE, MaskValues

from .archives import ConversionError

__all__ = ['LabelTable']


@dataclass(frozen=True)
class LabelTable:
    """Which number is written for which class.

    Args:
        values (MaskValues): Colours or numbers of the classes in the published masks.
        first (int): Number of class 0 in the tiles; class k is ``first + k``.
        ignored (int): Number of pixels without a label.
        max_stray (float): Values that are in no list become ``ignored`` and are counted, up to this share of a
            mask; beyond it they are an error.
    """

    values: MaskValues
    first: int = 0
    ignored: int = IGNORE
    max_stray: float = 0.0

    def recode(self, raw: np.ndarray, name: str) -> tuple[np.ndarray, dict[str, int]]:
        """(H, W) numbers, or (H, W, 3) RGB -> (H, W) uint8, {stray value: pixels}.

        Raises:
            ConversionError: More unknown values than ``max_stray`` allows; ``name`` is the file.
        """
        try:
            classes, unknown = self.values.classify(raw)
        except ValueError as error:
            raise ConversionError(f'{name}: {error}') from None
        stray = {self.values.show(value): count for value, count in unknown.items()}
        share = sum(stray.values()) / max(classes.size, 1)
        if share > self.max_stray:
            listed = ', '.join(f'{value} ({count} px)' for value, count in
                               sorted(stray.items(), key=lambda item: -item[1])[:8])
            raise ConversionError(f'{name}: {share:.2%} of the pixels have values that are not in the class list: '
                                  f'{listed}; the classes are {", ".join(map(self.values.show, self.values.values))}, '
                                  f'ignored {", ".join(map(self.values.show, self.values.ignore)) or "none"}')
        return np.where(classes == IGNORE, self.ignored, classes + np.uint8(self.first)).astype(np.uint8), stray

    def count(self, labels: np.ndarray) -> np.ndarray:
        """Pixels of each class in what :meth:`recode` gave: (K,) int64."""
        number = len(self.values.values)
        counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
        return counts[self.first:self.first + number]
