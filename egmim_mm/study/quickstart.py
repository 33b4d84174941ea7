"""The chain behind ``make quickstart``: scenes, DAPT, two fine-tunings, tests, a table and a picture sheet."""
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from egmim_mm.datasets.plain_tiles import file_tiles
from egmim_mm.evaluation.results import is_trained
from egmim_mm.pictures.pretraining import as_rows, load_model, prediction_rows, reconstruction_panels
from egmim_mm.pictures.sheets import contact_sheet
from egmim_mm.synthetic import write_dataset

DATA = Path('data/quickstart')
ROOT = Path(__file__).resolve().parents[2]
DAPT, UPERNET = 'configs/quickstart/egmim_dapt.py', 'configs/quickstart/upernet.py'
SCENES = dict(num_train=200, num_val=30, num_unlabeled=600)  # 200 labelled tiles: 5 % are ten
STARTS = dict(scratch='from scratch', egmim='after EGMIM')

_PROGRESS = re.compile(r'Iter\((\w+)\) *\[ *(\d+)/(\d+)\]')
_LOSS = re.compile(r' loss: ([\d.]+)')


class StepFailed(RuntimeError):
    """A command of the chain ended with an error; the message names its log file."""


class Quickstart:
    """Run the chain once per seed, skipping what an earlier call has finished.

    Args:
        work_dir (str): Runs (``seed_N/{dapt,scratch,egmim}``), ``table.json`` and ``sheet.png``.
        data (str): Folder of the scenes; made when it is not there.
        seeds (Sequence[int]): Seeds of initialisation, order, augmentation and of the labelled tiles.
        options (Sequence[str]): ``--cfg-options`` for every training.
    """

    def __init__(self, work_dir: str, data: str, seeds: Sequence[int], options: Sequence[str] = ()) -> None:
        self.work_dir, self.data, self.seeds = Path(work_dir), Path(data), list(seeds)
        self.options = list(options)
        self.console = Console()

    def run(self) -> None:
        started = time.monotonic()
        self._say('[1/4] Synthetic aerial scenes (no download)')
        write_dataset(self.data, **SCENES, workers=os.cpu_count() or 1)
        for seed in self.seeds:
            self._chain(seed)
        self._say('[4/4] Table and pictures')
        self._table()
        sheet = self._sheet(self.work_dir / f'seed_{self.seeds[0]}')
        self.console.print(f'Pictures: {sheet}\nDone in {(time.monotonic() - started) / 60:.1f} min.')

    def _chain(self, seed: int) -> None:
        folder = self.work_dir / f'seed_{seed}'
        self._say(f'[2/4] EGMIM pretraining on {SCENES["num_unlabeled"]} unlabelled scenes (seed {seed})')
        with self._progress() as progress:
            self._train(progress, DAPT, folder / 'dapt', seed,
                        self._data_options('train', folder='/img_dir/unlabeled'))
        self._say(f'[3/4] UperNet on 5 % of the labels, from scratch and after EGMIM, side by side (seed {seed})')
        with self._progress() as progress, ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(self._finetune, progress, folder, start, seed) for start in STARTS]
            for job in jobs:
                job.result()

    def _finetune(self, progress: Progress, folder: Path, start: str, seed: int) -> None:
        backbone = ['--backbone', str(folder / 'dapt')] if start == 'egmim' else []
        # two at a time: one thread each is faster than two that wait for each other
        threads = str(max(1, (os.cpu_count() or 2) // 2))
        labels = [f'train_dataloader.sampler.seed={seed}'] if seed else []
        self._train(progress, UPERNET, folder / start, seed, self._data_options('train', 'test') + labels, backbone,
                    threads)
        if json.loads((folder / start / 'results.json').read_text())['phase'] != 'test':
            self._command(progress, f'test {STARTS[start]}', folder / f'{start}_test.log', [
                'tools/test.py', UPERNET, str(folder / start), '--out', str(folder / start / 'predictions'),
                *_options(self._data_options('train', 'test'))
            ], threads)

    def _train(self, progress: Progress, config: str, folder: Path, seed: int, options: list[str],
               extra: Sequence[str] = (), threads: str = '') -> None:
        if is_trained(folder / 'results.json'):
            progress.console.print(f'  {folder}: done by an earlier call')
            return
        if (folder / 'last_checkpoint').is_file():
            extra = ['--resume']
        self._command(progress, f'train {folder.name}', folder.with_suffix('.log'), [
            'tools/train.py', config, '--work-dir', str(folder), '--seed', str(seed), *extra,
            *_options([*options, *self.options])
        ], threads)

    def _command(self, progress: Progress, title: str, log: Path, arguments: list[str], threads: str = '') -> None:
        """Run one of the tools; its output goes to ``log``, its progress to the bar."""
        progress.console.print('  $ python ' + shlex.join(arguments), style='dim', highlight=False,
                               soft_wrap=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, PYTHONUNBUFFERED='1')
        if threads:
            environment['OMP_NUM_THREADS'] = threads
        task = progress.add_task(title, total=None)
        with log.open('w', buffering=1) as file, subprocess.Popen(
            [sys.executable, str(ROOT / arguments[0]), *self._rooted(arguments[1:])], stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, env=environment) as process:
            for line in process.stdout:
                file.write(line)
                found = _PROGRESS.search(line)
                if found:
                    loss = _LOSS.search(line)
                    progress.update(task, completed=int(found[2]), total=int(found[3]),
                                    description=title + (f', loss {float(loss[1]):.3f}' if loss else ''))
        if process.returncode:
            raise StepFailed(f'"{title}" stopped with status {process.returncode}; its last lines are\n'
                             + ''.join(log.read_text().splitlines(True)[-5:]) + f'(all of them in {log})')

    def _data_options(self, *loaders: str, folder: str = '') -> list[str]:
        if self.data == DATA:  # what the configs say
            return []
        return [f'{name}_dataloader.dataset.data_root={self.data}{folder}' for name in loaders]

    @staticmethod
    def _rooted(arguments: list[str]) -> list[str]:
        return [str(ROOT / a) if a.startswith('configs/') else a for a in arguments]

    def _table(self) -> None:
        scores: dict[str, list[dict]] = {
            start: [json.loads((self.work_dir / f'seed_{seed}' / start / 'results.json').read_text())['metrics']
                    for seed in self.seeds] for start in STARTS
        }
        table = Table('IoU, %', *(Column(name, justify='right') for name in STARTS.values()),
                      title=f'UperNet on 5 % of the labels, {SCENES["num_val"]} test scenes, seeds {self.seeds}')
        for name in (n for n in scores['scratch'][0] if n == 'mIoU' or n.startswith('IoU/')):
            table.add_row(name.removeprefix('IoU/'), *(_mean_std([r[name] for r in runs]) for runs in scores.values()),
                          end_section=name == 'mIoU')
        self.console.print(table)
        (self.work_dir / 'table.json').write_text(json.dumps(scores, indent=1))

    def _sheet(self, folder: Path) -> Path:
        config = Config.fromfile(ROOT / UPERNET)
        meta = config.test_dataloader.dataset.metainfo
        names = [p.stem for p in sorted((self.data / 'img_dir/val').glob('*.png'))[:4]]
        images = [self.data / 'img_dir/val' / f'{n}.png' for n in names]
        masks = [self.data / 'ann_dir/val' / f'{n}.png' for n in names]
        predictions = [[folder / start / 'predictions' / f'{n}.png' for n in names] for start in STARTS]
        model = load_model(Config.fromfile(ROOT / DAPT), folder / 'dapt')
        titles, left = as_rows(reconstruction_panels(model, tile, seed)
                               for seed, tile in enumerate(file_tiles(images, len(images))))
        right = prediction_rows(masks, predictions, meta.palette)
        path = self.work_dir / 'sheet.png'
        contact_sheet(
            [[*a[:4], *b] for a, b in zip(left, right)],  # up to the reconstruction
            [*titles[:4], 'truth', *STARTS.values()],
            path, legend=dict(zip(meta.classes, map(tuple, meta.palette))))
        return path

    def _progress(self) -> Progress:
        return Progress(TextColumn('  {task.description:<32}'), BarColumn(), TextColumn('{task.completed:.0f}'),
                        TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn(), console=self.console)

    def _say(self, text: str) -> None:
        self.console.print(f'\n[bold]{text.replace("[", "(", 1).replace("]", ")", 1)}[/bold]')


def _options(options: Sequence[str]) -> list[str]:
    return ['--cfg-options', *options] if options else []


def _mean_std(values: Sequence[float]) -> str:
    values = [v if v is not None else float('nan') for v in values]
    spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 and np.isfinite(values).all() else ''
    return f'{statistics.fmean(values):.1f}{spread}'
