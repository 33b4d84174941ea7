"""Draws few_labels.png: mIoU against the number of labelled images.

    python docs/results/few_labels.py forest=few/forest random=few/random_0,few/random_1 EGMIM=few/egmim_0,few/egmim_1

Each name has work dirs that hold folders <images>_seed<label seed> with results.json, as tools/analyze.py readouts and
the commands of few_labels.md write them; folders of one name are averaged.
"""
import json
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402


def scores(folders: list[str]) -> dict[int, list[float]]:
    """Number of labelled images -> mIoU of each run, %."""
    found: dict[int, list[float]] = {}
    for folder in folders:
        for path in sorted(Path(folder).glob('*_seed*/results.json')):
            images = int(re.match(r'\d+', path.parent.name).group())
            found.setdefault(images, []).append(json.loads(path.read_text())['metrics']['mIoU'])
    if not found:
        sys.exit(f'Error: no <images>_seed<N>/results.json in {", ".join(folders)}')
    return dict(sorted(found.items()))


def main() -> None:
    figure, axes = plt.subplots(figsize=(6.4, 4), layout='constrained')
    ticks = set()
    for argument in sys.argv[1:]:
        name, _, folders = argument.partition('=')
        found = scores(folders.split(','))
        means, low, high = zip(*((np.mean(v), min(v), max(v)) for v in found.values()))
        line, = axes.plot(list(found), means, marker='o', label=f'{name} ({", ".join(f"{m:.1f}" for m in means)})')
        axes.fill_between(list(found), low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        ticks |= set(found)
    axes.set_xscale('log')
    axes.set_xticks(sorted(ticks), sorted(ticks))
    axes.minorticks_off()
    axes.set_xlabel('labelled images')
    axes.set_ylabel('mIoU, %')
    axes.set_title('Dubai, test images: means and range over runs', fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right', fontsize=8)
    figure.savefig(Path(__file__).with_suffix('.png'), dpi=120)


if __name__ == '__main__':
    main()
