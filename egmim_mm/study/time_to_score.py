"""How long pretraining takes until a frozen probe of its backbone reaches a score: EGMIM against stock SimMIM."""
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from egmim_mm.analysis.probe_report import compare_backbones
from egmim_mm.benchmark.child import run_in_child, say_now
from egmim_mm.benchmark.journal import Journal
from egmim_mm.benchmark.plan import PRETRAIN, Way
from egmim_mm.benchmark.rows import Row, paired_row
from egmim_mm.benchmark.stock_models import egmim_model
from egmim_mm.benchmark.training_configs import RARE, build_runner, stock_simmim_run
from egmim_mm.datasets.plain_tiles import build_training_data
from egmim_mm.engine.launch import settle_schedule
from egmim_mm.records.whole_files import whole_file, write_whole

__all__ = ['measure_scores', 'pretraining_like', 'probe_checkpoint', 'score_rows', 'train_to_checkpoints']

Curve = list[dict[str, float]]  # of one run: iteration, seconds, mIoU of each checkpoint
_TRAIN, _PROBE = (f'egmim_mm.study.time_to_score:{name}' for name in ('train_to_checkpoints', 'probe_checkpoint'))
NOTE = ('the probe is a linear classifier of frozen features (tools/analyze.py probe), fitted on all training labels '
        'and scored on the test tiles; seconds are those of training with its data, without the probes. The score to '
        "reach is, in each seed, that of the baseline's last checkpoint, unless one was given")


def measure_scores(work_dir: str | Path, pretrain: str, probe: str, device: torch.device, threads: int,
                   iterations: int | None = None, looks: int = 6, seeds: Sequence[int] = (0, ),
                   ways: Sequence[Way] = PRETRAIN, say: Callable[[str], None] = say_now) -> dict[str, dict[int, Curve]]:
    """Train each way, probe its checkpoints, and draw the curves; what an earlier call has done is not repeated.

    Args:
        work_dir: Folder of ``journal.jsonl``, ``curves.png``, logs and runs.
        pretrain: Pretraining config with an EGMIM model; its images, batch and backbone are those of all ways.
        probe: Segmentation config with the same backbone, for the probe.
        device: Where to train and probe.
        threads: CPU threads of a process.
        iterations: Of a training; by default those of the config.
        looks: Checkpoints that are probed, evenly spread; random weights are probed too.
        seeds: Of the trainings.
        ways: Those of ours and the baselines.
        say: Prints a line of progress.

    Returns:
        Way -> seed -> its curve.

    Raises:
        ValueError: Numbers that do not fit, or the folder was made with other settings.
        ChildFailed: A training or a probe failed.
    """
    work_dir = Path(work_dir)
    iterations = iterations or Config.fromfile(pretrain).train_cfg.max_iters
    if looks < 1 or iterations < looks:
        raise ValueError(f'{iterations} iterations with {looks} looks at the score: give an iteration for each')
    path = work_dir / 'journal.jsonl'
    journal = Journal(path, dict(pretrain=pretrain, probe=probe, iterations=iterations, looks=looks,
                                 device=str(device), threads=threads), path.is_file())

    def once(key: str, function: str, argument: Mapping[str, Any]) -> Any:
        if key not in journal.done:
            say(f'{time.strftime("%H:%M:%S")} {key}')
            log = work_dir / 'logs' / f'{key.replace(", ", "_").replace(" ", "_")}.log'
            journal.keep(key, run_in_child(function, dict(argument), threads, device, log))
        return journal.done[key]

    curves: dict[str, dict[int, Curve]] = {way.name: {} for way in ways}
    for seed in seeds:
        start = once(f'random weights, seed {seed}', _PROBE, dict(config=probe, source='scratch', seed=seed))
        for way in ways:
            run = work_dir / f'{way.name.replace(", ", "_").replace(" ", "_")}_seed{seed}'
            seconds = once(f'{way.name}, seed {seed}, training', _TRAIN, dict(
                config=pretrain, stock=way.stock, options=dict(way.options), iterations=iterations,
                interval=iterations // looks, seed=seed, work_dir=str(run)))
            curve = [dict(iteration=0, seconds=0.0, mIoU=start)]
            for iteration, passed in sorted((int(key), value) for key, value in seconds.items()):
                score = once(f'{way.name}, seed {seed}, iteration {iteration}', _PROBE,
                             dict(config=probe, source=str(run / f'iter_{iteration}.pth'), seed=seed))
                curve.append(dict(iteration=iteration, seconds=passed, mIoU=score))
            curves[way.name][seed] = curve
    _draw(curves, work_dir / 'curves.png')
    return curves


class _CheckpointTimes(Hook):
    """Saves weights at intervals and counts the seconds of training between."""

    priority = 'LOWEST'

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.seconds: dict[int, float] = {}
        self._passed = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        self._since = time.perf_counter()

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        done = runner.iter + 1
        if done % self.interval:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._passed += time.perf_counter() - self._since
        self.seconds[done] = self._passed
        torch.save(dict(state_dict=runner.model.state_dict()), Path(runner.work_dir, f'iter_{done}.pth'))
        self._since = time.perf_counter()


def pretraining_like(config: str, list_file: str | Path, stock: bool, options: Mapping[str, Any] = {}) -> Config:
    """The run of a pretraining config, or stock SimMIM with the same backbone, images, batch and iterations.

    Args:
        config: Config file with an EGMIM model.
        list_file: Where the names of its images are written for the stock toolchain.
        stock: The stock toolchain's.
        options: As in ``--cfg-options``, of this run alone.

    Raises:
        ValueError: The config is not for EGMIM.
    """
    cfg = Config.fromfile(config)
    egmim_model(cfg)
    for name in RARE:
        cfg.default_hooks.pop(name, None)
    if stock:
        loader, batch = cfg.train_dataloader, cfg.train_cfg.get('global_batch')
        dataset = build_training_data(cfg)
        images = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
        write_whole(list_file, ''.join(f'{Path(image).absolute()}\n' for image in images))
        crop = next(step for step in loader.dataset.pipeline if 'crop_size' in step)
        iterations = cfg.train_cfg.max_iters
        cfg = stock_simmim_run(cfg, dict(size=crop.crop_size, images=''))
        cfg.train_dataloader.dataset.ann_file = str(list_file)
        cfg.train_dataloader.update(batch_size=batch or loader.batch_size, num_workers=loader.num_workers,
                                    persistent_workers=loader.num_workers > 0)
        cfg.train_cfg.max_iters = iterations
    cfg.merge_from_dict(dict(options))
    settle_schedule(cfg)
    return cfg


def train_to_checkpoints(job: Mapping[str, Any]) -> dict[int, float]:
    """Train, for a child process; iteration -> seconds of training until then, for each checkpoint."""
    folder = Path(job['work_dir'])
    cfg = pretraining_like(job['config'], folder / 'images.txt', job['stock'],
                           {**job['options'], 'train_cfg.max_iters': job['iterations']})
    cfg.default_hooks.checkpoint = None
    cfg.randomness = dict(seed=job['seed'])
    runner = build_runner(cfg, folder, job['stock'])
    times = _CheckpointTimes(job['interval'])
    runner.register_hook(times)
    runner.train()
    return times.seconds


def probe_checkpoint(job: Mapping[str, Any]) -> float:
    """mIoU of the probe of a checkpoint, in per cent, for a child process."""
    with tempfile.TemporaryDirectory() as folder:
        rows = compare_backbones(Config.fromfile(job['config']), {'it': job['source']}, folder, seed=job['seed'])
    return rows['it']['all']['mIoU']


def score_rows(curves: Mapping[str, Mapping[int, Curve]], score: float | None = None,
               ways: Sequence[Way] = PRETRAIN) -> list[Row]:
    """Seconds until a score is reached, each of ours against each baseline; '-' where a seed never reaches it.

    Args:
        curves: Of :func:`measure_scores`.
        score: mIoU to reach, per cent; by default, in each seed, that of the baseline's last checkpoint.
        ways: Which of the names are baselines.
    """
    rows = []
    stock = [way.name for way in ways if way.stock]
    for ours in (way.name for way in ways if not way.stock):
        for base in stock:
            pairs = []
            for seed, curve in curves[ours].items():
                other = curves[base][seed]
                target = other[-1]['mIoU'] if score is None else score
                pairs.append((_seconds_to(curve, target), _seconds_to(other, target)))
            what = 'its last score' if score is None else f'{score:g} % mIoU'
            name = f'time to a probe of {what}, {len(pairs)} seed(s)'
            both = [pair for pair in pairs if None not in pair and pair[1] > 0]
            if len(both) == len(pairs):
                rows.append(paired_row(name, ours, base, 's', *zip(*both), better='less', note=NOTE))
            else:
                missing = len(pairs) - len(both)
                name = f'{name} (not reached by both in {missing})'
                rows.append(Row(name, ours, base, 's', better='less', note=NOTE))
    return rows


def _seconds_to(curve: Curve, score: float) -> float | None:
    return next((point['seconds'] for point in curve if point['mIoU'] >= score), None)


def _draw(curves: Mapping[str, Mapping[int, Curve]], path: Path) -> None:
    figure = Figure((7, 4), dpi=110, layout='constrained')
    axes = figure.add_subplot()
    for number, (name, seeds) in enumerate(curves.items()):
        for which, curve in enumerate(seeds.values()):
            axes.plot([point['seconds'] for point in curve], [point['mIoU'] for point in curve], 'o-', ms=3, lw=1.2,
                      color=f'C{number}', label=name if not which else None)
    axes.set(xlabel='seconds of training', ylabel='mIoU of the frozen probe, %')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    FigureCanvasAgg(figure)
    with whole_file(path) as draft:
        figure.savefig(draft)
