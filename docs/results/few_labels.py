"""Draws few_labels.png: mIoU against the number of labelled images.

    python docs/results/few_labels.py forest=few/forest random=few/random_0,few/random_1 EGMIM=few/egmim_0,few/egmim_1

Each name has work dirs that hold folders <images>_seed<label seed> with results.json, as tools/analyze.py readouts and
the commands of few_labels.md write them; folders of one name are averaged.
"""
import json
import sys
from pathlib import Path

from egmim_mm.analysis.readouts_report import plot_readouts


def readings(folders: list[str]) -> dict[str, list[dict[str, float]]]:
    """Number of labelled images -> metrics of each run."""
    found: dict[str, list[dict[str, float]]] = {}
    for path in sorted(path for folder in folders for path in Path(folder).glob('*_seed*/results.json')):
        found.setdefault(path.parent.name.split('_')[0], []).append(json.loads(path.read_text())['metrics'])
    if not found:
        sys.exit(f'Error: no <images>_seed<N>/results.json in {", ".join(folders)}')
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


if __name__ == '__main__':
    named = (argument.partition('=') for argument in sys.argv[1:])
    plot_readouts({name: readings(folders.split(',')) for name, _, folders in named},
                  Path(__file__).with_suffix('.png'))
