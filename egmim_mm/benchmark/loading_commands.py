"""The subcommands of ``tools/benchmark.py`` about data and evaluation; heavy imports stand in the runs."""
import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .suite_commands import COMMANDS

__all__ = ['COMMANDS']


def _wait_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--workers', type=int, default=2, help='loader processes (default: %(default)s)')
    parser.add_argument('--tiles', type=int, nargs='+', default=[512, 1024], metavar='PX',
                        help='sides of the tiles (default: 512 1024)')
    parser.add_argument('--rounds', type=int, default=2, help='runs of each (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=12, help='timed steps of a run (default: %(default)s)')
    parser.add_argument('--toy', action='store_true', help='a tiny model on tiles of 128 px')
    parser.add_argument('--out', default='work_dirs/benchmark/wait', help='folder of wait.json (default: %(default)s)')


@COMMANDS.register('wait', _wait_options, help='share of a training in which it waits for data',
                   description='Run short trainings of the nano models with 128-px crops of large tiles, ours and the '
                   "stock toolchain's in turn, and print how much of their time they wait for their loaders.")
def _wait(args: argparse.Namespace) -> None:
    import torch

    from .data_wait import wait_rows
    _report(wait_rows(args.workers, args.rounds, args.steps, tuple(args.tiles), args.toy), Path(args.out, 'wait.json'),
            torch.get_num_threads())


def _boundary_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=int, default=1024, metavar='PX',
                        help='side of the images (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='timings of each (default: %(default)s)')
    parser.add_argument('--threads', type=int, help='threads of the metric (default: one for each core)')
    parser.add_argument('--out', default='work_dirs/benchmark/boundaries',
                        help='folder of boundaries.json (default: %(default)s)')


@COMMANDS.register('boundaries', _boundary_options, help='boundary metrics of an image',
                   description='Time the counts of boundary IoU and boundary F1 of an image of seven classes against '
                   'a filter for each class and width, and those of several images in threads.')
def _boundaries(args: argparse.Namespace) -> None:
    from egmim_mm.cores import cores_per_process

    from .boundary import boundary_rows
    threads = args.threads or cores_per_process()
    _report(boundary_rows(args.size, args.rounds, threads), Path(args.out, 'boundaries.json'), threads)


def _report(rows: Sequence[Any], file: Path, threads: int) -> None:
    from dataclasses import asdict

    import torch

    from egmim_mm.records.provenance import git_state, package_versions, write_json
    from egmim_mm.records.tables import print_table

    from .machine import describe_machine
    from .rows import HEADS, cells
    print_table(*HEADS, [cells(row) for row in rows])
    write_json(file, dict(rows=[asdict(row) for row in rows], versions=package_versions(), git=git_state(),
                          machine=describe_machine(torch.device('cpu'), threads)))
    print(f'wrote {file}')
