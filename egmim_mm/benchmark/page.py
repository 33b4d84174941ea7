"""The table of speeds as a page for people who know nothing of the run: Markdown, and a picture of the ratios."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egmim_mm.records.tables import print_table
from egmim_mm.records.whole_files import whole_file, write_whole

from .rows import HEADS, Row, cells, read_rows

__all__ = ['draw_ratios', 'markdown', 'print_document', 'write_page']

INTRODUCTION = """\
What training with this package costs against the stock toolchain, both trained in turn on one machine (A B C,
C B A, ...), each time in a new process. A ratio is ours divided by the baseline, of two measurements of the same
round: its median over the rounds, and the lowest and highest. The columns "ours" and "baseline" are medians of their
own. Where more is better, a ratio of 2 means twice as fast; where less is better, 0.5 means half."""


def write_page(document: Mapping[str, Any], path: str | Path) -> list[Path]:
    """Write what :meth:`~egmim_mm.benchmark.suite.Suite.run` returns as ``path`` and, if there is a ratio, a picture.

    Args:
        document: Of a run.
        path: Markdown file; the picture has its name with .png.

    Returns:
        The files written.
    """
    path = Path(path)
    picture = path.with_suffix('.png')
    rows = read_rows(document['rows'])
    drawn = any(row.ratio is not None for row in rows)
    if drawn:
        draw_ratios(rows, picture)
    write_whole(path, markdown(document, picture.name if drawn else None))
    return [path, picture] if drawn else [path]


def markdown(document: Mapping[str, Any], picture: str | None = None) -> str:
    """The page: machine, command, commit, date, the table, what each line compares."""
    rows = read_rows(document['rows'])
    machine, git = document['machine'], document['git']
    commit = 'No commit (installed)'
    if git:
        commit = f'Commit {git["commit"][:7]}{", with changes" if git["modified"] else ""}'
    lines = ['# How fast is it?', '', INTRODUCTION, '', f'    {document["command"]}', '',
             f'{_machine_line(machine)}; {document["workers"]} loader process(es). torch {machine["torch"]}. '
             f'{commit}, {document["date"]}, {document["minutes"]:.0f} minutes.', '']
    if document['toy']:
        lines += ['**A trial with toy models (`--toy`): its numbers mean nothing.**', '']
    if picture:
        lines += [f'![ratios of ours to the baselines]({picture})', '']
    heads = [head.strip() for group in HEADS for head in group]
    lines += [_line(heads), _line(['---'] * len(HEADS[0]) + ['---:'] * len(HEADS[1])), *(_line(cells(r)) for r in rows)]
    notes = [*document['notes'], *dict.fromkeys(row.note for row in rows if row.note)]
    lines += ['', '## What is compared', '', *(f'- {note[0].upper()}{note[1:]}' for note in notes), *_speeds(document)]
    if document['not_measured']:
        lines += ['', '## Not measured', '']
        lines += [f'- {name}: {why}' for name, why in document['not_measured'].items()]
    return '\n'.join(lines) + '\n'


def _machine_line(machine: Mapping[str, Any]) -> str:
    cpu = (f'CPU: {machine["cpu"]}, {machine["cores"]} logical cores, {machine["threads"]} thread(s) for a training '
           'process')
    return f'GPU: {machine["gpu"]}. {cpu}' if machine['gpu'] else f'{cpu}; no GPU was used'


def _speeds(document: Mapping[str, Any]) -> list[str]:
    """What the products of this machine reach, which the share of the limit refers to."""
    speeds = {found['precision']: found['rate'] for found in document['products'].values() if found}
    told = ', '.join(f'{rate / 1e9:,.0f} GFLOP/s in {precision}' for precision, rate in speeds.items())
    return [f'- One large matrix product reaches {told}.'] if told else []


def _line(texts: Sequence[str]) -> str:
    return f'| {" | ".join(texts)} |'


def print_document(document: Mapping[str, Any]) -> None:
    """Print the table, and what could not be measured."""
    print_table(*HEADS, [cells(row) for row in read_rows(document['rows'])])
    for name, why in document['not_measured'].items():
        print(f'not measured: {name}: {why}')


def draw_ratios(rows: Sequence[Row], path: str | Path) -> None:
    """A bar for each row that has a ratio, with its spread: how many times better ours is, on a logarithmic axis."""
    rows = [row for row in rows if row.ratio is not None]
    figure = Figure((10, 1.6 + 0.3 * len(rows) + 0.3 * len({row.name for row in rows})), dpi=110, layout='constrained')
    axes, place, ticks, bounds = figure.add_subplot(), 0.0, [], [1.0]
    for number, row in enumerate(rows):
        if not number or rows[number - 1].name != row.name:
            place += 1.0
            axes.annotate(row.name, (0, place), xycoords=('axes fraction', 'data'), xytext=(4, 0), fontsize=9,
                          textcoords='offset points', fontweight='bold', va='center')
        place += 1.0
        ends = [value if row.better == 'more' else 1 / value for value in (row.ratio, row.low or row.ratio,
                                                                           row.high or row.ratio)]
        middle, low, high = ends[0], min(ends), max(ends)
        bounds += [low, high]
        axes.barh(place, middle - 1, 0.8, left=1, color='#2a7f62' if middle >= 1 else '#b5532f',
                  xerr=[[middle - low], [high - middle]], error_kw=dict(lw=1, capsize=3, ecolor='#333333'))
        axes.annotate(f'{middle:.2f}', (max(high, 1), place), xytext=(6, 0), textcoords='offset points', va='center',
                      fontsize=9)
        ticks.append((place, f'{row.variant}  /  {row.against}'))
    axes.set_yticks(*zip(*ticks), fontsize=9)
    axes.axvline(1, color='#333333', lw=1)
    axes.set_xscale('log', base=2)
    axes.set_xlim(min(0.6, 0.9 * min(bounds)), 1.35 * max(bounds))
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.set_ylim(place + 0.7, 0.3)
    axes.set_xlabel('times better than the baseline (faster, or less memory); the line at 1: as good')
    axes.spines[['top', 'right']].set_visible(False)
    FigureCanvasAgg(figure)
    with whole_file(path) as draft:
        figure.savefig(draft)
