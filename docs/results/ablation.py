"""The runs behind docs/results/ablation.md: two at a time, one thread each; finished ones are skipped.

Needs data/dubai (MBRSC Dubai, as published) and data/rsscn7_256 (RSSCN7 at 256 px).

    python docs/results/ablation.py pretrain SEED...  # GPPT, then every mask x target with its probe
    python docs/results/ablation.py more SEED...      # operator, beta, gamma, ratio, lambda, gradient loss
    python docs/results/ablation.py finetune CELL...  # these cells, scratch and gppt; 2 and 5 images, 3 seeds
    python docs/results/ablation.py table             # Markdown tables; keeps the readings in ablation.json
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
KEPT = Path(__file__).with_suffix('.json')  # readings of runs whose work dirs are gone
MASKS = ('random32', 'random16', 'random_adaptive', 'edge_adaptive', 'edge_stratified', 'edge_topk')
TARGETS = ('pixel', 'weight', 'edge', 'hog')
GRID = [f'{mask}_{target}' for target in TARGETS for mask in MASKS]
MORE = sorted(p.stem for p in CONFIGS.glob('*_*.py') if p.stem not in GRID) + ['grad']
BUDGETS, SEEDS = (2, 5), (0, 1, 2)
METRICS = ('mIoU', 'boundary_mIoU_3px', 'boundary_mIoU_5px')
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
               '--seed', seed, '--backbone', cell if cell == 'scratch' else f'{cell}={folder}',
               '--out', folder / 'probe')


def finetune(job: tuple[str, int, int]) -> None:
    cell, budget, seed = job
    train(str(CONFIGS / 'upernet.py'), RUNS / f'upernet_{budget}' / f'{cell}_seed{seed}',
          dict(scratch=None, gppt=GPPT).get(cell, RUNS / f'{cell}_seed{seed}'), '--seed', str(seed), '--cfg-options',
          f'train_dataloader.sampler.budget={budget}', f'train_dataloader.sampler.seed={seed}')


def pool(function, jobs: Iterable) -> None:
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(function, jobs))


def collect() -> dict[str, list[float] | dict[str, float]]:
    """All readings by run: mIoU of the probe (``READINGS``), or the metrics of a fine-tuning."""
    found = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for cell in ('scratch', 'gppt', *GRID, *MORE):
        for seed in SEEDS:
            file = RUNS / f'{cell}_seed{seed}' / 'probe' / 'probe.json'
            if file.is_file():
                scores = json.loads(file.read_text())['rows'][cell].values()
                found[f'{cell}_seed{seed}'] = [round(s['mIoU'], 2) for s in scores]
            for budget in BUDGETS:
                file = RUNS / f'upernet_{budget}' / f'{cell}_seed{seed}' / 'results.json'
                if file.is_file():
                    metrics = json.loads(file.read_text())['metrics']
                    found[f'upernet_{budget}_{cell}_seed{seed}'] = {name: round(metrics[name], 2) for name in METRICS}
    KEPT.write_text(json.dumps(found, indent=0, sort_keys=True) + '\n')
    return found


def tables() -> None:
    found = collect()
    cells = ('scratch', 'gppt', *GRID, *MORE)
    print('\n| cell | seeds | ' + ' | '.join(READINGS) + ' |\n|' + '---|' * (2 + len(READINGS)))
    for cell in cells:
        rows = [found[key] for seed in SEEDS if (key := f'{cell}_seed{seed}') in found]
        if rows:
            values = [f'{statistics.fmean(column):.1f}' for column in zip(*rows)]
            values[0] = f'**{values[0]}** (' + ', '.join(f'{row[0]:.1f}' for row in rows) + ')'
            print(f'| {cell} | {len(rows)} | ' + ' | '.join(values) + ' |')
    for budget in BUDGETS:
        results = {cell: [found.get(f'upernet_{budget}_{cell}_seed{seed}') for seed in SEEDS] for cell in cells}
        results = {cell: scores for cell, scores in results.items() if all(scores)}
        for metric in METRICS if 'random32_pixel' in results else ():
            print(f'\n{metric}, fine-tuning on {budget} images\n\n| start | ' +
                  ' | '.join(f'seed {seed}' for seed in SEEDS) + ' | mean | minus random32_pixel, paired |\n|' +
                  '---|' * (3 + len(SEEDS)))
            for cell, scores in results.items():
                values = [s[metric] for s in scores]
                gains = [v - b[metric] for v, b in zip(values, results['random32_pixel'])]
                print(f'| {cell} | ' + ' | '.join(f'{v:.1f}' for v in values) + f' | **{statistics.fmean(values):.1f}**'
                      f' | {statistics.fmean(gains):+.1f} ± {statistics.stdev(gains):.1f} |')


def main(command: str, *chosen: str) -> None:
    if command == 'pretrain':
        pretrain(('gppt', 0))
        pool(pretrain, [(cell, int(seed)) for seed in chosen for cell in ('scratch', *GRID)])
    elif command == 'more':
        pool(pretrain, [(cell, int(seed)) for seed in chosen for cell in MORE])
    elif command == 'finetune':
        pool(pretrain, [(cell, seed) for seed in SEEDS for cell in chosen])
        pool(finetune, [(cell, budget, seed) for seed in SEEDS for budget in BUDGETS
                        for cell in ('scratch', 'gppt', *chosen)])
    else:
        tables()


if __name__ == '__main__':
    main(*sys.argv[1:])
