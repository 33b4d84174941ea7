"""``tools/benchmark.py all``: every comparison in turn, each measurement in a process of its own, kept as it goes."""
import datetime
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from egmim_mm.cores import cores_per_process
from egmim_mm.records.provenance import git_state, package_versions, write_json
from egmim_mm.storage.image_files import find_images
from egmim_mm.synthetic import write_dataset

from .child import ChildFailed, run_in_child, say_now
from .journal import Journal
from .machine import describe_machine
from .plan import FUNCTIONS, Comparison, Way, comparisons
from .rows import Row, paired_row

__all__ = ['Suite', 'comparison_rows']

TILE = 512  # px, of the synthetic scenes
MEASURE, PRODUCTS = 'egmim_mm.benchmark.training:measure', 'egmim_mm.benchmark.machine:measure_products'
Results = dict[str, list[dict[str, Any]]]  # way -> what was measured, a round each
WAIT_NOTE = 'waiting for data is the share of the time of training in which its process waits for its loader'
LIMIT_NOTE = ('the arithmetic limit is the time that the products and convolutions of a step would take at the speed '
              'of one large matrix product in the same precision on this machine; the table gives it as a share of '
              'the time of a step on one batch')
MEMORY_NOTE = ('peak memory is that of the GPU; on a CPU that of the training process, less what it held after its '
               'imports, without the processes of its loader')


class Suite:
    """Measures what is asked for and was not measured before an interruption.

    Args:
        work_dir: Folder of ``journal.jsonl``, ``all.json``, the logs of the measurements and the tiles.
        device: Where to train.
        threads: CPU threads of a training process.
        workers: Loader processes of a training.
        resume: Go on with an interrupted run.
        only: Names of comparisons and functions; all by default.
        rounds: Measurements of each way; by default those of the plan.
        images: Folder of images to pretrain on; by default the synthetic scenes.
        toy: Tiny models, to see whether everything runs.
        say: Prints a line of progress.

    Raises:
        ValueError: An unknown name in ``only``, no image in the folder, too few rounds, or ``resume`` with other
            settings.
    """

    def __init__(self, work_dir: str | Path, device: torch.device, threads: int, workers: int, resume: bool = False,
                 only: Sequence[str] = (), rounds: int | None = None, images: str | Path | None = None,
                 toy: bool = False, say: Callable[[str], None] = say_now) -> None:
        self.work_dir, self.device, self.threads, self.workers = Path(work_dir), device, threads, workers
        self.toy, self.say = toy, say
        functions = {} if toy else FUNCTIONS
        names = [*(c.name for c in comparisons(toy)), *functions]
        unknown = [name for name in only if name not in names]
        if unknown:
            raise ValueError(f'--only {" ".join(unknown)}: there are {", ".join(names)}')
        if min(threads, 1 if rounds is None else rounds) < 1 or workers < 0:
            raise ValueError(f'--threads {threads}, --rounds {rounds}, --workers {workers}: give at least 1 thread, 1 '
                             'round and 0 workers')
        self.images = Path(images) if images else self.work_dir / 'tiles/img_dir/unlabeled'
        if images and not _has_image(self.images):
            raise ValueError(f'--tiles {images}: there is no image in this folder')
        self.rounds = rounds
        self.plan = [c for c in comparisons(toy) if not only or c.name in only]
        self.functions = {name: entry for name, entry in functions.items() if not only or name in only}
        commit = (git_state() or {}).get('commit')
        settings = dict(device=str(device), threads=threads, workers=workers, rounds=rounds, tiles=str(self.images),
                        toy=toy, commit=commit)
        self.journal = Journal(self.work_dir / 'journal.jsonl', settings, resume)
        self.failed: dict[str, str] = {}

    def minutes(self) -> float:
        """About how long it takes on two cores, without what is done."""
        return (sum(c.seconds * len(c.ways) / 60 for c, n in self._rounds() if self._key(c, n) not in self.journal.done)
                + sum(minutes for name, (_, minutes) in self.functions.items() if name not in self.journal.done))

    def run(self, command: str) -> dict[str, Any]:
        """Measure, and write ``all.json``.

        Args:
            command: What was typed, for the record.

        Returns:
            What is written: ``rows``, ``notes``, ``not_measured`` (name -> why) and where it comes from.
        """
        started = time.monotonic()
        self.say(f'{len(self.journal.done)} measurements are done; the others take about {self.minutes():.0f} '
                 'minutes on two CPU cores')
        count = 8 if self.toy else 32
        write_dataset(self.work_dir / 'tiles', count, 0, count, TILE, workers=1 if self.toy else cores_per_process())
        self._products()
        for comparison, number in self._rounds():
            self._round(comparison, number)
        for name, (function, _) in self.functions.items():
            self._keep(name, lambda function=function, name=name: self._child(function, dict(
                threads=self.threads, workers=self.workers), name))
        document = dict(
            rows=[asdict(row) for row in self.rows()], notes=self._notes(), not_measured=self.failed, command=command,
            date=datetime.date.today().isoformat(), minutes=(time.monotonic() - started) / 60, toy=self.toy,
            machine=describe_machine(self.device, self.threads), workers=self.workers,
            products={name: self.journal.done.get(name) for name in ('products float32', 'products auto')},
            versions=package_versions(), git=git_state())
        write_json(self.work_dir / 'all.json', document)
        return document

    def rows(self) -> list[Row]:
        """The table of what is measured so far, in the order of the plan."""
        rows = []
        for comparison in self.plan:
            results = [self.journal.done[key] for number in range(self._count(comparison))
                       if (key := self._key(comparison, number)) in self.journal.done]
            if results:
                by_way = {way.name: [result[way.name] for result in results] for way in comparison.ways}
                rows += comparison_rows(comparison, by_way, self.journal.done)
        return rows + [Row(**row) for name in self.functions for row in self.journal.done.get(name, [])]

    def _rounds(self) -> Iterator[tuple[Comparison, int]]:
        return ((c, number) for c in self.plan for number in range(self._count(c)))

    def _count(self, comparison: Comparison) -> int:
        return self.rounds or comparison.rounds

    @staticmethod
    def _key(comparison: Comparison, number: int) -> str:
        return f'{comparison.name} round {number + 1}'

    def _products(self) -> None:
        for precision in ('float32', 'auto'):
            argument = dict(device=self.device.type, precision=precision, side=256 if self.toy else None)
            self._keep(f'products {precision}', lambda argument=argument: self._child(PRODUCTS, argument, 'products'))

    def _round(self, comparison: Comparison, number: int) -> None:
        """All ways once, in an order that is reversed every other round; a round is kept whole or not at all."""

        def measure() -> dict[str, Any]:
            results = {}
            for way in comparison.ways[::-1 if number % 2 else 1]:
                results[way.name] = self._child(MEASURE, self._job(comparison, way, number),
                                                f'{comparison.name}, {way.name}')
                self.say(f'  {way.name}: {results[way.name]["images_per_s"]:.2f} images/s')
            return results

        if comparison.name not in self.failed:
            self._keep(self._key(comparison, number), measure, comparison.name)

    def _job(self, comparison: Comparison, way: Way, number: int) -> dict[str, Any]:
        return dict(comparison.job, stock=way.stock, options=dict(way.options), workers=self.workers, tile=TILE,
                    tiles=str(self.work_dir / 'tiles'), images=str(self.images), count=number == 0)

    def _keep(self, key: str, measure: Callable[[], Any], name: str | None = None) -> None:
        if key in self.journal.done:
            return
        self.say(f'{time.strftime("%H:%M:%S")} {key}')
        try:
            self.journal.keep(key, measure())
        except ChildFailed as error:  # the others still tell something
            self.say(f'  failed: {error}')
            self.failed[name or key] = str(error)

    def _child(self, function: str, argument: dict[str, Any], name: str) -> Any:
        log = self.work_dir / 'logs' / f'{name.replace(", ", "_").replace(" ", "_")}.log'
        return run_in_child(function, argument, self.threads, self.device, log)

    def _notes(self) -> list[str]:
        notes = [f'{c.title}: {c.note}. Each way was measured {self._count(c)} times.' for c in self.plan]
        return [*notes, *(f'{note}.' for note in (MEMORY_NOTE, WAIT_NOTE, LIMIT_NOTE))] if self.plan else []


def _has_image(folder: Path) -> bool:
    return folder.is_dir() and bool(find_images(folder))


def comparison_rows(comparison: Comparison, results: Results, products: dict[str, Any]) -> list[Row]:
    """Rows of a comparison: each of ours against each baseline, and what is known of ours beside the first one.

    Args:
        comparison: Its names.
        results: Of the same rounds for each way.
        products: ``products float32`` and ``products auto`` -> what ``measure_products`` returns.
    """
    ours, stock = ([way for way in comparison.ways if way.stock is which] for which in (False, True))
    rows, title = [], comparison.title

    def add(way: Way, base: Way, what: str, unit: str, value: Callable[[dict], float], better: str) -> None:
        rows.append(paired_row(f'{title}: {what}', way.name, base.name, unit, *(
            [value(result) for result in results[each.name]] for each in (way, base)), better))

    for way in ours:
        for base in stock:
            add(way, base, 'end to end', 'images/s', lambda r: r['images_per_s'], 'more')
        for base in stock:
            add(way, base, 'step alone', 'images/s', lambda r: r['alone_images_per_s'], 'more')
        for base in stock:
            add(way, base, 'peak memory', 'MiB', lambda r: r['peak_bytes'] / 2**20, 'less')
        first = stock[0]
        waits, shares = [], []
        for each in (way, first):
            waits.append(100 * statistics.median(r['data_wait'] for r in results[each.name]))
            shares.append(_share_of_limit(each, comparison, results[each.name], products))
        rows.append(Row(f'{title}: waiting for data', way.name, first.name, '%', waits[0], waits[1], better='less'))
        if None not in shares:
            rows.append(Row(f'{title}: share of the arithmetic limit', way.name, first.name, '%', *shares))
    return rows


def _share_of_limit(way: Way, comparison: Comparison, results: list[dict], products: dict[str, Any]) -> float | None:
    plain = way.stock and not way.options
    speed, flops = products.get('products float32' if plain else 'products auto'), results[0]['flops']
    if speed is None or flops is None:
        return None
    rate = statistics.median(r['alone_images_per_s'] for r in results)
    return 100 * flops * rate / comparison.job['batch'] / speed['rate']
