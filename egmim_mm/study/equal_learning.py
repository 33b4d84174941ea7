"""Does what makes training fast change what is learned? The same training with one thing switched per run."""
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egmim_mm.benchmark.child import ChildFailed, say_now
from egmim_mm.benchmark.journal import Journal
from egmim_mm.cores import cores_per_process
from egmim_mm.environment import SHIPPED
from egmim_mm.evaluation.results_document import is_trained
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.records.tables import print_table
from egmim_mm.records.whole_files import whole_file, write_whole

__all__ = ['SWITCHES', 'compare_learning', 'learning_rows', 'print_learning', 'write_learning']

AS_SHIPPED = 'as shipped'
PIPELINE = 'train_dataloader.dataset.pipeline.0'
# Switch -> settings of the config
SWITCHES: dict[str, list[str]] = {
    AS_SHIPPED: [],
    'float32': ['optim_wrapper.precision=float32'],
    'tiles decoded for every crop': [f'{PIPELINE}.cache_mb=0', f'{PIPELINE}.cache_dir=None'],
    'compiled': ['compile=True'],
}
HEADS = (('training', ), ('seeds', 'last loss', 'minus as shipped', 'probe mIoU, %', 'minus as shipped', 's/step'))


def compare_learning(config: str, probe: str, out_dir: str | Path, steps: int = 600, seeds: Sequence[int] = (0, 1, 2),
                     switches: Sequence[str] | None = None, jobs: int = 1, options: Sequence[str] = (),
                     say: Callable[[str], None] = say_now) -> dict[str, Any]:
    """Train and probe each switch with each seed; what an earlier call has finished is not repeated.

    Args:
        config: Pretraining config.
        probe: Segmentation config with the same backbone, for ``tools/analyze.py probe``.
        out_dir: Folder of the runs, ``journal.jsonl`` and ``equal_learning.json``.
        steps: Iterations.
        seeds: Of initialisation, order, augmentation and masks; the same for each switch.
        switches: Keys of :data:`SWITCHES`; by default all, 'compiled' only where there is a C++ compiler.
        jobs: Runs at once; they share the cores.
        options: KEY=VALUE for every training, as in ``--cfg-options``.
        say: Prints a line of progress.

    Returns:
        What is written: ``runs`` (switch -> seed -> ``loss`` ([iteration, loss] pairs), ``probe``, ``step_seconds``)
        and settings.

    Raises:
        ValueError: An unknown switch, no steps, or the folder was made with other settings.
        ChildFailed: A training or a probe failed.
    """
    out_dir = Path(out_dir)
    if switches is None:
        compiler = shutil.which(os.environ.get('CXX', 'g++'))
        switches = [name for name in SWITCHES if name != 'compiled' or compiler]
    unknown = [name for name in switches if name not in SWITCHES]
    if unknown or steps < 20 or jobs < 1 or not seeds:
        raise ValueError(f'unknown switch {unknown[0]!r}: there are {", ".join(SWITCHES)}' if unknown else
                         f'{steps} steps, {jobs} jobs, {len(seeds)} seeds: give at least 20 steps, a job and a seed')
    switches = list(dict.fromkeys([AS_SHIPPED, *switches]))
    path = out_dir / 'journal.jsonl'
    journal = Journal(path, dict(config=config, probe=probe, steps=steps, options=list(options)), path.is_file())
    threads = max(1, cores_per_process() // jobs)

    def run(switch: str, seed: int) -> None:
        key = f'{switch}, seed {seed}'
        if key not in journal.done:
            say(f'{time.strftime("%H:%M:%S")} {key}')
            folder = out_dir / key.replace(', ', '_').replace(' ', '_')
            settings = [f'train_cfg.max_iters={steps}', 'default_hooks.logger.interval=10',
                        'default_hooks.checkpoint.interval=100', *options, *SWITCHES[switch]]
            _train(config, folder, seed, settings, threads)
            _tool(['analyze.py', 'probe', probe, '--backbone', f'it={folder}', '--seed', str(seed), '--out',
                   str(folder / 'probe')], folder.with_suffix('.probe.log'), threads)
            journal.keep(key, _read_run(folder))

    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(run, switch, seed) for seed in seeds for switch in switches]
        try:
            for job in waiting:
                job.result()
        except BaseException:  # Ctrl-C too: what has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    document = dict(
        runs={switch: {str(seed): journal.done[f'{switch}, seed {seed}'] for seed in seeds} for switch in switches},
        config=config, probe=probe, steps=steps, seeds=list(seeds), options=list(options), threads=threads,
        settings={switch: SWITCHES[switch] for switch in switches}, versions=package_versions(), git=git_state())
    write_json(out_dir / 'equal_learning.json', document)
    return document


def _train(config: str, folder: Path, seed: int, settings: Sequence[str], threads: int) -> None:
    if is_trained(folder / 'results.json'):
        return
    resume = ['--resume'] if (folder / 'last_checkpoint').is_file() else []
    _tool(['train.py', config, '--work-dir', str(folder), '--seed', str(seed), *resume, '--cfg-options', *settings],
          folder.with_suffix('.log'), threads)


def _tool(arguments: Sequence[str], log: Path, threads: int) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SHIPPED / 'tools' / arguments[0]), *arguments[1:]]
    with log.open('w') as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT,
                              env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    if done.returncode:
        lines = log.read_text(errors='replace').strip().splitlines() or ['no output']
        raise ChildFailed(f'{lines[-1]} (all of it: {log})')


def _read_run(folder: Path) -> dict[str, Any]:
    logged: dict[int, dict] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):  # a resumed run has several
        for line in path.read_text().splitlines():
            values = json.loads(line)
            if 'loss' in values:
                logged[values['step']] = values
    probe = json.loads((folder / 'probe' / 'probe.json').read_text())['rows']['it']['all']['mIoU']
    return dict(loss=[[step, logged[step]['loss']] for step in sorted(logged)], probe=probe,
                step_seconds=statistics.median(values['time'] for values in logged.values()))


def learning_rows(runs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    """Texts below :data:`HEADS`: means over seeds; differences are those of the same seed, mean and range."""

    def last_loss(run: Mapping[str, Any]) -> float:
        values = [value for _, value in run['loss']]
        return statistics.fmean(values[-max(1, len(values) // 10):])

    rows = []
    for switch, by_seed in runs.items():
        cells = [switch, str(len(by_seed))]
        for value, digits in ((last_loss, 4), (lambda run: run['probe'], 2)):
            numbers = [value(run) for run in by_seed.values()]
            differences = [value(run) - value(runs[AS_SHIPPED][seed]) for seed, run in by_seed.items()]
            spread = f' ± {statistics.stdev(numbers):.{digits}f}' if len(numbers) > 1 else ''
            cells.append(f'{statistics.fmean(numbers):.{digits}f}{spread}')
            cells.append('-' if switch == AS_SHIPPED else f'{statistics.fmean(differences):+.{digits}f} '
                         f'({min(differences):+.{digits}f} to {max(differences):+.{digits}f})')
        rows.append((*cells, f'{statistics.median(run["step_seconds"] for run in by_seed.values()):.3f}'))
    return rows


def print_learning(document: Mapping[str, Any]) -> None:
    """Print a line for each switch."""
    print_table(*HEADS, learning_rows(document['runs']))


def write_learning(document: Mapping[str, Any], path: str | Path, command: str) -> list[Path]:
    """The page and the picture of the loss curves beside it; returns both paths."""
    path = Path(path)
    git, heads = document['git'], [head for group in HEADS for head in group]
    lines = ['# Does what makes training fast change what is learned?', '', f'    {command}', '',
             f'{document["steps"]} steps of {document["config"]}, probe of {document["probe"]}. Each line changes one '
             'thing; all runs of a seed see the same images. "last loss" is the mean over the last tenth of a run. ± '
             'is the standard deviation between seeds, the noise for differences to be held against. Differences are '
             'between runs of the same seed: mean, and range.', '',
             f'Commit {git["commit"][:7]}, torch {document["versions"]["torch"]}.' if git else
             f'torch {document["versions"]["torch"]}.', '',
             f'![loss curves]({path.stem}.png)', '', '| ' + ' | '.join(heads) + ' |',
             '|' + '---|' + '---:|' * len(HEADS[1]),
             *('| ' + ' | '.join(row) + ' |' for row in learning_rows(document['runs']))]
    _draw(document['runs'], path.with_suffix('.png'))
    write_whole(path, '\n'.join(lines) + '\n')
    return [path, path.with_suffix('.png')]


def _draw(runs: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    figure = Figure((7.5, 4), dpi=110, layout='constrained')
    axes = figure.add_subplot()
    for number, (switch, by_seed) in enumerate(runs.items()):
        for which, run in enumerate(by_seed.values()):
            axes.plot(*zip(*run['loss']), color=f'C{number}', lw=1, alpha=0.8, ls=('-', '--', ':')[which % 3],
                      label=switch if not which else None)
    axes.set(xlabel='iteration', ylabel='loss', yscale='log')
    axes.set_title('seeds: solid, dashed, dotted', fontsize=9)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    FigureCanvasAgg(figure)
    with whole_file(path) as draft:
        figure.savefig(draft)
