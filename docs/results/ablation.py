"""The runs behind docs/results/ablation.md: two at a time, one thread each; finished ones are skipped.

Needs data/dubai (MBRSC Dubai, as published) and data/rsscn7_256 (RSSCN7 at 256 px).

    python docs/results/ablation.py pretrain          # GPPT, then every mask x target, seeds 0 and 1, with its probe
    python docs/results/ablation.py more              # operator, beta, gamma, ratio, lambda, gradient loss, seed 0
    python docs/results/ablation.py finetune CELL...  # these cells, scratch and gppt; 2 and 5 images, 3 seeds
    python docs/results/ablation.py table             # Markdown tables from the results
"""
import json
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs import python, train

CONFIGS, RUNS = Path('configs/ablations'), Path('work_dirs/ablations')
GPPT = RUNS / 'gppt_seed0'  # one for all: seeds differ in DAPT and fine-tuning
MASKS = ('random32', 'random16', 'random_adaptive', 'edge_adaptive', 'edge_stratified', 'edge_topk')
TARGETS = ('pixel', 'weight', 'edge', 'hog')
GRID = [f'{mask}_{target}' for target in TARGETS for mask in MASKS]
MORE = sorted(p.stem for p in CONFIGS.glob('*_*.py') if p.stem not in GRID) + ['grad']
BUDGETS, SEEDS = (2, 5), (0, 1, 2)
READINGS = ('all stages', 'stage 1', 'stage 2', 'stage 3', 'stage 4')


def pretrain(job: tuple[str, int]) -> None:
    cell, seed = job
    folder = RUNS / f'{cell}_seed{seed}'
    if cell == 'gppt':
        train(str(CONFIGS / 'gppt.py'), folder)
    elif cell != 'scratch':
        train(str(CONFIGS / f'{cell}.py'), folder, GPPT, '--seed', str(seed))
    if not (folder / 'probe' / 'probe.json').is_file():
        python(folder, 'tools/analyze.py', 'probe', CONFIGS / 'upernet.py', '--stages', 'each', '--samples', 15000,
               '--seed', seed, '--backbone', f'{cell}={folder}' if cell != 'scratch' else cell, '--out', folder / 'probe')


def finetune(job: tuple[str, int, int]) -> None:
    cell, budget, seed = job
    train(str(CONFIGS / 'upernet.py'), RUNS / f'upernet_{budget}' / f'{cell}_seed{seed}',
          dict(scratch=None, gppt=GPPT).get(cell, RUNS / f'{cell}_seed{seed}'), '--seed', str(seed), '--cfg-options',
          f'train_dataloader.sampler.budget={budget}', f'train_dataloader.sampler.seed={seed}')


def pool(function, jobs: Iterable) -> None:
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(function, jobs))


def probe(cell: str, seed: int) -> list[float] | None:
    file = RUNS / f'{cell}_seed{seed}' / 'probe' / 'probe.json'
    if not file.is_file():
        return None
    readings = json.loads(file.read_text())['rows'][cell]
    return [scores['mIoU'] for scores in readings.values()]


def tables() -> None:
    cells = ['scratch', 'gppt', *GRID, *MORE]
    print('\n| cell | seeds | ' + ' | '.join(READINGS) + ' |\n|' + '---|' * (2 + len(READINGS)))
    for cell in cells:
        rows = [row for row in (probe(cell, seed) for seed in SEEDS) if row]
        if rows:
            values = [f'{statistics.fmean(column):.1f}' for column in zip(*rows)]
            values[0] = f'**{values[0]}** (' + ', '.join(f'{row[0]:.1f}' for row in rows) + ')'
            print(f'| {cell} | {len(rows)} | ' + ' | '.join(values) + ' |')
    for budget in BUDGETS:
        results = {cell: [score(cell, budget, seed) for seed in SEEDS] for cell in cells}
        results = {cell: scores for cell, scores in results.items() if all(scores)}
        for metric in sorted({name for scores in results.values() for name in scores[0]}, reverse=True):
            print(f'\n{metric}, fine-tuning on {budget} images\n\n| start | ' +
                  ' | '.join(f'seed {seed}' for seed in SEEDS) + ' | mean | minus random32_pixel, paired |\n|' +
                  '---|' * (3 + len(SEEDS)))
            for cell, scores in results.items():
                values = [s[metric] for s in scores]
                gains = [v - b[metric] for v, b in zip(values, results['random32_pixel'])]
                print(f'| {cell} | ' + ' | '.join(f'{v:.1f}' for v in values) + f' | **{statistics.fmean(values):.1f}**'
                      f' | {statistics.fmean(gains):+.1f} ± {statistics.stdev(gains):.1f} |')


def score(cell: str, budget: int, seed: int) -> dict[str, float] | None:
    file = RUNS / f'upernet_{budget}' / f'{cell}_seed{seed}' / 'results.json'
    if not file.is_file():
        return None
    metrics = json.loads(file.read_text())['metrics']
    return {name: metrics[name] for name in ('mIoU', 'boundary_mIoU_3px', 'boundary_mIoU_5px')}


def main(command: str, *cells: str) -> None:
    if command == 'pretrain':
        pretrain(('gppt', 0))
        pool(pretrain, [('scratch', 0), ('scratch', 1)] + [(cell, seed) for seed in (0, 1) for cell in GRID])
    elif command == 'more':
        pool(pretrain, [(cell, seed) for seed in (0, 1) for cell in MORE])
    elif command == 'finetune':
        pool(pretrain, [(cell, 2) for cell in cells])
        pool(finetune, [(cell, budget, seed) for seed in SEEDS for budget in BUDGETS
                        for cell in ('scratch', 'gppt', *cells)])
    else:
        tables()


if __name__ == '__main__':
    main(*sys.argv[1:])
