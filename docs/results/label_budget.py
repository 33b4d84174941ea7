"""Classes that five suggested tiles of Dubai cover, against five random ones; prints the table of label_budget.md.

    python docs/results/label_budget.py data/dubai
"""
import sys

import numpy as np
from mmengine.config import Config

from egmim_mm.datasets.label_budget import covered_classes, order_tiles
from egmim_mm.datasets.plain_tiles import build_training_data
from egmim_mm.study.suggest_tiles import METHODS, choose_tiles, read_statistics

SEEDS = 20
SHARES = (0.001, 0.01, 0.05, 0.1, 0.2)  # of a tile that a class has to take to count as covered; the first is our own


def main(root: str) -> None:
    cfg = Config.fromfile('configs/_base_/datasets/dubai.py')
    cfg.default_scope = 'mmseg'
    cfg.train_dataloader.dataset.data_root = root
    dataset = build_training_data(cfg)
    names, pixels = dataset.tile_names, dataset.class_pixels()
    shares = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    features = read_statistics([dataset.get_data_info(i)['img_path'] for i in range(len(dataset))])
    place = {name: i for i, name in enumerate(names)}
    choices = {'random': lambda n, seed: [place[name] for name in order_tiles(names, None, seed, 'random')[:n]]}
    for method in METHODS:
        choices[method] = lambda n, seed, method=method: choose_tiles(features, n, method, seed)
    print(f'{len(names)} tiles, classes {dataset.metainfo["classes"]}, tiles that hold each: '
          f'{covered_classes(pixels).sum(axis=0).tolist()}')
    for count in (2, 5, 10):
        for name, choose in choices.items():
            picked = [choose(count, seed) for seed in range(SEEDS)]
            covered = [[(shares[p] >= share).any(axis=0).sum() for p in picked] for share in SHARES]
            scarcest = [100 * (pixels[p].sum(axis=0) / pixels[p].sum()).min() for p in picked]
            print(f'| {count} | {name} |', *(f'{np.mean(numbers):.2f} |' for numbers in covered),
                  f'{np.mean(scarcest):.1f} | {len({tuple(sorted(p)) for p in picked})} |')


if __name__ == '__main__':
    main(*sys.argv[1:])
