"""The runs behind docs/results/dubai.md: two trainings at a time, one thread each; finished ones are skipped.

Needs data/dubai (MBRSC Dubai, as published) and data/rsscn7_256 (RSSCN7 at 256 px).

    python docs/results/dubai.py run      # about two hours on two cores
    python docs/results/dubai.py table    # Markdown tables from the results.json files
"""
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs import python, train

CONFIGS = 'configs/dubai_cpu'
RUNS = Path('work_dirs/dubai')
STARTS = {'scratch': None, 'GPPT': 'gppt', 'GPPT -> SimMIM DAPT': 'simmim_dapt', 'GPPT -> EGMIM DAPT': 'egmim_dapt'}
BUDGETS, SEEDS = (2, 5), (0, 1, 2)


def finetune(job: tuple) -> None:
    name, source, budget, seed = job
    train(f'{CONFIGS}/upernet.py', RUNS / f'upernet_{budget}' / f'{source or name}_seed{seed}',
          source and RUNS / source, '--seed', str(seed), '--cfg-options', f'train_dataloader.sampler.budget={budget}',
          f'train_dataloader.sampler.seed={seed}')


def run() -> None:
    train(f'{CONFIGS}/gppt.py', RUNS / 'gppt')
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: train(f'{CONFIGS}/{name}.py', RUNS / name, RUNS / 'gppt'),
                      ('simmim_dapt', 'egmim_dapt')))
        sources = [argument for name, source in STARTS.items()
                   for argument in ('--backbone', f'{name}={RUNS / source}' if source else name)]
        list(pool.map(finetune, [(name, source, b, s) for s in SEEDS for b in BUDGETS
                                 for name, source in STARTS.items()]))
    if not (RUNS / 'probe' / 'probe.json').is_file():
        python(RUNS, 'tools/analyze.py', 'probe', f'{CONFIGS}/upernet.py', '--stages', 'each', '--out', RUNS / 'probe',
               *sources)


def table() -> None:
    readings = json.loads((RUNS / 'probe' / 'probe.json').read_text())['rows']
    header('Frozen linear probe, all training labels', 'all stages', '1', '2', '3', '4')
    for name in STARTS:
        print(f'| {name} | ' + ' | '.join(f'{scores["mIoU"]:.1f}' for scores in readings[name].values()) + ' |')
    for budget in BUDGETS:
        # only seeds with all four starts: means over different seeds cannot be compared
        seeds = [s for s in SEEDS if all(result(budget, x or 'scratch', s).is_file() for x in STARTS.values())]
        header(f'Fine-tuning on {budget} labelled images', *(f'seed {s}' for s in seeds), 'mean',
               'minus scratch, paired')
        baseline = [miou(budget, 'scratch', seed) for seed in seeds]
        for name, source in STARTS.items():
            scores = [miou(budget, source or name, seed) for seed in seeds]
            gains = [a - b for a, b in zip(scores, baseline)]
            gain = f'{statistics.fmean(gains):+.1f}' if source else ''
            gain += f' ± {statistics.stdev(gains):.1f}' if source and len(gains) > 1 else ''
            print('| ' + ' | '.join([name, *(f'{v:.1f}' for v in scores), f'**{statistics.fmean(scores):.1f}**', gain])
                  + ' |')


def header(title: str, *columns: str) -> None:
    print(f'\n{title}, mIoU in %\n\n| start | ' + ' | '.join(columns) + ' |\n|' + '---|' * (len(columns) + 1))


def miou(budget: int, start: str, seed: int) -> float:
    return json.loads(result(budget, start, seed).read_text())['metrics']['mIoU']


def result(budget: int, start: str, seed: int) -> Path:
    return RUNS / f'upernet_{budget}' / f'{start}_seed{seed}' / 'results.json'


if __name__ == '__main__':
    dict(run=run, table=table)[sys.argv[1]]()
