"""What became of every key of a checkpoint, as numbers and as a table."""
import re
from dataclasses import dataclass, field

from egmim_mm.records.tables import make_table, table_text

_GROUPS = (
    ('patch embedding', r'patch_embed\.'),
    ('mask token', r'mask_token'),
    ('position bias', r'.*(bias_table|cpb_mlp)'),
    ('patch merging', r'stages\.\d\.downsample\.'),
    *((f'blocks of stage {i + 1}', rf'stages\.{i}\.') for i in range(4)),
    ('norms of the stages', r'norm\d\.'),
)
_COLUMNS = ('loaded', 'resized', 'adapted', 'missing', 'mismatched', 'unused')
_NOTES = dict(
    resized='position tables, to the window',
    adapted='patch embedding, to the input bands; the sum over bands is kept',
    missing='not in the checkpoint, keep their initial values',
    mismatched='another shape, not loaded',
    unused='in the checkpoint, not in the model')


@dataclass
class LoadReport:
    """What became of every key. ``share`` is the share of backbone parameters (by count) that were loaded.

    ``resized`` and ``adapted`` are among the ``loaded``; ``outside`` are keys of other parts of the source's model.
    """
    source: str
    format: str
    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    share: float = 0.0

    def __str__(self) -> str:
        lines = [f'Backbone from {self.source} ({self.format}): {self.share:.2%} of its parameters loaded',
                 self._table()]
        for name, note in _NOTES.items():
            keys = getattr(self, name)
            if keys:
                shown = ', '.join(keys[:6]) + (', ...' if len(keys) > 6 else '')
                lines.append(f'  {len(keys)} {name} ({note}): {shown}')
        if self.outside:
            parts = sorted({key.partition('.')[0] for key in self.outside})
            shown = ', '.join(parts[:6]) + (', ...' if len(parts) > 6 else '')
            lines.append(f'  {len(self.outside)} outside the backbone (not looked at): {shown}')
        return '\n'.join(lines + [f'  {note}' for note in self.notes])

    def counts(self) -> dict[str, list[int]]:
        """Group -> number of keys loaded, resized, adapted, missing, mismatched, unused; empty groups left out."""
        groups: dict[str, list[int]] = {}
        for column, name in enumerate(_COLUMNS):
            for key in getattr(self, name):
                groups.setdefault(_group(key), [0] * len(_COLUMNS))[column] += 1
        order = [name for name, _ in _GROUPS] + ['other']
        return dict(sorted(groups.items(), key=lambda item: order.index(item[0])))

    def _table(self) -> str:
        counts = self.counts()
        sums = [sum(row[column] for row in counts.values()) for column in range(len(_COLUMNS))]
        return table_text(make_table(('weights', ), _COLUMNS, [(group, *(number or '' for number in row))
                                                               for group, row in counts.items()],
                                     style='simple', footer=('all', *sums)))


def _group(key: str) -> str:
    return next((name for name, pattern in _GROUPS if re.match(pattern, key)), 'other')
