"""The chain behind ``make quickstart``: scenes, DAPT, two fine-tunings, tests, a table and a picture sheet."""
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from egmim_mm.cores import cores_per_process
from egmim_mm.datasets.plain_tiles import file_tiles
from egmim_mm.environment import SHIPPED as ROOT
from egmim_mm.evaluation.results_document import is_trained
from egmim_mm.pictures import draw_sheet
from egmim_mm.pictures.pretraining import as_rows, load_model, prediction_rows, reconstruction_panels
from egmim_mm.records import whole_file, write_whole
from egmim_mm.records.tables import print_table
from egmim_mm.synthetic import write_dataset

DATA = Path('data/quickstart')
DAPT, UPERNET = 'configs/quickstart/egmim_dapt.py', 'configs/quickstart/upernet.py'
SCENES = dict(num_train=200, num_val=30, num_unlabeled=600)  # 200 labelled tiles: 5 % are ten
# Every step of the chain in a minute; nothing is learned in four iterations.
TOY_SCENES = dict(num_train=20, num_val=2, num_unlabeled=8)
TOY_OPTIONS = ('train_cfg.max_iters=4', 'train_cfg.global_batch=4')
STARTS = dict(scratch='from scratch', egmim='after EGMIM')

_PROGRESS = re.compile(r'Iter\((\w+)\) *\[ *(\d+)/(\d+)\]')
_LOSS = re.compile(r' loss: ([\d.]+)')


class StepFailed(RuntimeError):
    """A command of the chain ended with an error; the message names its log file."""


class Quickstart:
    """Run the chain once per seed, skipping what an earlier call has finished.

    Args:
        work_dir: Runs (``seed_N/{dapt,scratch,egmim}``), ``table.json`` and ``sheet.png``.
        data: Folder of the scenes; made when it is not there.
        seeds: Seeds of initialisation, order, augmentation and of the labelled tiles.
        options: ``--cfg-options`` for every training.
        toy: Few scenes and four iterations: does the chain run here? Scores mean nothing.
    """

    def __init__(self, work_dir: str, data: str, seeds: Sequence[int], options: Sequence[str] = (),
                 toy: bool = False) -> None:
        self.work_dir, self.data, self.seeds = Path(work_dir), Path(data), list(seeds)
        self.scenes = TOY_SCENES if toy else SCENES
        self.workers = 1 if toy else cores_per_process()  # to start processes takes longer than a few scenes
        self.options = [*(TOY_OPTIONS if toy else ()), *options]
        self.console = Console()
        self._running: set[subprocess.Popen] = set()

    def run(self) -> None:
        started = time.monotonic()
        self._say('[1/4] Synthetic aerial scenes (no download)')
        write_dataset(self.data, **self.scenes, workers=self.workers)
        for seed in self.seeds:
            self._chain(seed)
        self._say('[4/4] Table and pictures')
        self._table()
        sheet = self.work_dir / 'sheet.png'
        with whole_file(sheet) as draft:
            Image.fromarray(draw_run(self.work_dir / f'seed_{self.seeds[0]}', self.data)).save(draft)
        self.console.print(f'Pictures: {sheet}\nDone in {(time.monotonic() - started) / 60:.1f} min.')

    def _chain(self, seed: int) -> None:
        folder = self.work_dir / f'seed_{seed}'
        self._say(f'[2/4] EGMIM pretraining on {self.scenes["num_unlabeled"]} unlabelled scenes (seed {seed})')
        with self._progress() as progress:
            self._train(progress, DAPT, folder / 'dapt', seed,
                        self._data_options('train', folder='/img_dir/unlabeled'))
        self._say(f'[3/4] UperNet on 5 % of the labels, from scratch and after EGMIM, side by side (seed {seed})')
        with self._progress() as progress, ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(self._finetune, progress, folder, start, seed) for start in STARTS]
            try:
                for job in jobs:
                    job.result()
            except KeyboardInterrupt:
                self._stop()  # the pool waits for them
                raise

    def _finetune(self, progress: Progress, folder: Path, start: str, seed: int) -> None:
        backbone = ['--backbone', str(folder / 'dapt')] if start == 'egmim' else []
        # two at a time: one thread each is faster than two that wait for each other
        threads = str(max(1, cores_per_process() // 2))
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
        arguments = [_rooted(argument) for argument in arguments]
        progress.console.print('  $ python ' + shlex.join(arguments), style='dim', highlight=False,
                               soft_wrap=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, PYTHONUNBUFFERED='1')
        if threads:
            environment['OMP_NUM_THREADS'] = threads
        task = progress.add_task(title, total=None)
        with log.open('w', buffering=1) as file, subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env=environment) as process, self._known(process):
            for line in process.stdout:
                file.write(line)
                step = _PROGRESS.search(line)
                if step:
                    loss = _LOSS.search(line)
                    progress.update(task, completed=int(step[2]), total=int(step[3]),
                                    description=title + (f', loss {float(loss[1]):.3f}' if loss else ''))
        if process.returncode:
            raise StepFailed(f'"{title}" stopped with status {process.returncode}; its last lines are\n'
                             + ''.join(log.read_text().splitlines(True)[-5:]) + f'(all of them in {log})')

    @contextmanager
    def _known(self, process: subprocess.Popen) -> Iterator[None]:
        """A running command that is stopped with this process; its run goes on when the chain does."""
        self._running.add(process)
        try:
            yield
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            self._running.remove(process)

    def _stop(self) -> None:
        for process in list(self._running):
            process.terminate()

    def _data_options(self, *loaders: str, folder: str = '') -> list[str]:
        if self.data == DATA:  # what the configs say
            return []
        return [f'{name}_dataloader.dataset.data_root={self.data}{folder}' for name in loaders]

    def _table(self) -> None:
        scores: dict[str, list[dict]] = {
            start: [json.loads((self.work_dir / f'seed_{seed}' / start / 'results.json').read_text())['metrics']
                    for seed in self.seeds] for start in STARTS
        }
        cells = []
        for name in (n for n in scores['scratch'][0] if n == 'mIoU' or n.startswith('IoU/')):
            cells.append((name.removeprefix('IoU/'), *(_mean_std([r[name] for r in runs]) for runs in scores.values())))
            cells += [None] if name == 'mIoU' else []
        print_table(('IoU, %', ), tuple(STARTS.values()), cells,
                    title=f'UperNet on 5 % of the labels, {self.scenes["num_val"]} test scenes, seeds {self.seeds}')
        write_whole(self.work_dir / 'table.json', json.dumps(scores, indent=1))

    def _progress(self) -> Progress:
        return Progress(TextColumn('  {task.description:<32}'), BarColumn(), TextColumn('{task.completed:.0f}'),
                        TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn(), console=self.console)

    def _say(self, text: str) -> None:
        self.console.print(f'\n[bold]{text.replace("[", "(", 1).replace("]", ")", 1)}[/bold]')


def draw_run(run: Path, data: Path, num: int = 2) -> np.ndarray:
    """Pretraining above, segmentation below, of the first test scenes.

    Args:
        run: ``seed_N`` folder of a finished chain.
        data: Folder of the scenes.
        num: Scenes.

    Returns:
        (H, W, 3) uint8, RGB: four columns, so that it can be read on a page.
    """
    names = [path.stem for path in sorted((data / 'img_dir/val').glob('*.png'))[:num]]
    tiles = list(file_tiles([data / 'img_dir/val' / f'{name}.png' for name in names], num))
    model = load_model(Config.fromfile(ROOT / DAPT), run / 'dapt')
    titles, panels = as_rows(reconstruction_panels(model, tile, seed) for seed, tile in enumerate(tiles))
    meta = Config.fromfile(ROOT / UPERNET).test_dataloader.dataset.metainfo
    maps = prediction_rows([data / 'ann_dir/val' / f'{name}.png' for name in names],
                           [[run / start / 'predictions' / f'{name}.png' for name in names] for start in STARTS],
                           meta.palette)
    return np.concatenate([
        draw_sheet([row[:4] for row in panels], titles[:4]),  # up to the reconstruction
        draw_sheet([[row[0], *classes] for row, classes in zip(panels, maps)], [titles[0], 'truth', *STARTS.values()],
                   legend=dict(zip(meta.classes, map(tuple, meta.palette))))])


def _rooted(argument: str) -> str:
    """A config or tool by a name that holds in the current folder."""
    inside = argument.startswith(('configs/', 'tools/')) and Path.cwd() != ROOT
    return str(ROOT / argument) if inside else argument


def _options(options: Sequence[str]) -> list[str]:
    return ['--cfg-options', *options] if options else []


def _mean_std(values: Sequence[float]) -> str:
    values = [v if v is not None else float('nan') for v in values]
    spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 and np.isfinite(values).all() else ''
    return f'{statistics.fmean(values):.1f}{spread}'
