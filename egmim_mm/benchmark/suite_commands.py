"""The subcommands of ``tools/benchmark.py`` made of whole trainings; heavy imports stand in the runs."""
import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from egmim_mm.subcommands import add_device

from .commands import COMMANDS

DUBAI = ('configs/dubai_cpu/egmim_dapt.py', 'configs/dubai_cpu/upernet.py')
SCENES = ('configs/quickstart/egmim_dapt.py', 'configs/quickstart/upernet.py')


def default_configs() -> tuple[str, str]:
    """Configs of pretraining and of its probe: of Dubai if its images are here, else of the quickstart's scenes."""
    from egmim_mm.environment import SHIPPED
    chosen = DUBAI if Path('data/dubai').is_dir() else SCENES
    return tuple(str(SHIPPED / path) if not Path(path).is_file() else path for path in chosen)


def make_scenes(config: str) -> None:
    """The scenes of the quickstart, if its config is used and they are not there."""
    from egmim_mm.synthetic import write_dataset
    if config.endswith(SCENES[0]):
        write_dataset('data/quickstart', 200, 30, 600)


def typed_command() -> str:
    """What the user typed, for the record."""
    return f'python tools/benchmark.py {shlex.join(sys.argv[1:])}'


def _all_options(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    parser.add_argument('--threads', type=int, help='CPU threads of a training process (default: one for each core)')
    parser.add_argument('--workers', type=int, default=2, help='loader processes of a training (default: %(default)s)')
    parser.add_argument('--rounds', type=int, metavar='N', help='measurements of each way (default: 2 to 5)')
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', help='only these parts, such as pretrain-nano')
    parser.add_argument('--tiles', metavar='FOLDER', help='images to pretrain on (default: synthetic scenes of 512 px)')
    parser.add_argument('--resume', action='store_true', help='go on with an interrupted run')
    parser.add_argument('--long', action='store_true', help='also the time to a score of the probe; takes hours')
    parser.add_argument('--toy', action='store_true', help='tiny models: does everything run here?')
    parser.add_argument('--work-dir', default='work_dirs/benchmark/all',
                        help='folder of the journal, all.json and the logs (default: %(default)s)')
    parser.add_argument('--out', help='the page; a picture is put beside it (default: docs/results/speed.md, of --toy '
                        'speed.md in the work dir)')


@COMMANDS.register('all', _all_options, help='one table: everything against the stock toolchain',
                   description='Time training with its data, memory, loading and evaluation against stock MMPretrain '
                   'and MMSegmentation, in turn, each in a process of its own, and write one page. Interrupted, it '
                   'goes on with --resume.')
def _all(args: argparse.Namespace) -> None:
    from .machine import check_device
    from .page import print_document, write_page
    from .suite import Suite
    device, threads = check_device(args.device), args.threads or os.cpu_count() or 1
    long = {'time to a score': lambda: _rows_of_scores(args.work_dir, device, threads)} if args.long else None
    suite = Suite(args.work_dir, device, threads, args.workers, args.resume, args.only, args.rounds, args.tiles,
                  args.toy, long)
    try:
        document = suite.run(typed_command())
    except KeyboardInterrupt:
        again = typed_command() + ('' if args.resume else ' --resume')
        raise KeyboardInterrupt(f'Interrupted. What is measured is kept; go on with: {again}') from None
    print_document(document)
    out = args.out or (f'{args.work_dir}/speed.md' if args.toy else 'docs/results/speed.md')
    print('wrote ' + ', '.join(map(str, [*write_page(document, out), f'{args.work_dir}/all.json'])))
    if document['not_measured']:
        sys.exit('Error: some measurements failed, see above; --resume tries them again')


def _rows_of_scores(work_dir: str, device: Any, threads: int) -> list[dict]:
    from dataclasses import asdict

    from .time_to_score import measure_scores, score_rows
    pretrain, probe = default_configs()
    make_scenes(pretrain)
    curves = measure_scores(Path(work_dir, 'time_to_score'), pretrain, probe, device, threads)
    return [asdict(row) for row in score_rows(curves)]


def _score_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--pretrain', metavar='CONFIG', help='pretraining config with an EGMIM model (default: Dubai '
                        'if data/dubai is there, else the scenes of the quickstart)')
    parser.add_argument('--probe', metavar='CONFIG', help='segmentation config with the same backbone')
    parser.add_argument('--steps', type=int, help='iterations of a training (default: those of the config)')
    parser.add_argument('--looks', type=int, default=6, help='checkpoints that are probed (default: %(default)s)')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='(default: 0)')
    parser.add_argument('--score', type=float, metavar='MIOU',
                        help='score to reach, per cent (default: the last one of the baseline)')
    parser.add_argument('--threads', type=int, help='CPU threads of a process (default: one for each core)')
    add_device(parser)
    parser.add_argument('--work-dir', default='work_dirs/benchmark/time_to_score', help='(default: %(default)s)')


@COMMANDS.register('time-to-score', _score_options, help='seconds of pretraining until a probe reaches a score',
                   description='Pretrain EGMIM and stock SimMIM on the same images, probe frozen checkpoints of both, '
                   'and print how long each trained until it reached a score. The same command goes on with an '
                   'interrupted run.')
def _time_to_score(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from egmim_mm.records.provenance import git_state, package_versions, write_json
    from egmim_mm.records.tables import print_table

    from .machine import check_device, describe_machine
    from .rows import HEADS, cells
    from .time_to_score import measure_scores, score_rows
    configs = default_configs()
    pretrain = args.pretrain or configs[0]
    device, threads = check_device(args.device), args.threads or os.cpu_count() or 1
    make_scenes(pretrain)
    curves = measure_scores(args.work_dir, pretrain, args.probe or configs[1], device, threads, args.steps, args.looks,
                            args.seeds)
    rows = score_rows(curves, args.score)
    print_table(*HEADS, [cells(row) for row in rows])
    write_json(Path(args.work_dir, 'time_to_score.json'), dict(
        rows=[asdict(row) for row in rows], curves=curves, command=typed_command(),
        machine=describe_machine(device, threads), versions=package_versions(), git=git_state()))
    print(f'wrote {args.work_dir}/time_to_score.json and curves.png')


def _learning_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', nargs='?', help='pretraining config (default: Dubai if data/dubai is there, else the '
                        'scenes of the quickstart)')
    parser.add_argument('--probe', metavar='CONFIG', help='segmentation config with the same backbone')
    parser.add_argument('--steps', type=int, default=600, help='(default: %(default)s)')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='(default: 0 1 2)')
    parser.add_argument('--switches', nargs='+', metavar='NAME', help="for example float32 'tiles decoded for every "
                        "crop' (default: all; compiled only where there is a C++ compiler)")
    parser.add_argument('--jobs', type=int, default=1, help='trainings at once (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for every training')
    parser.add_argument('--work-dir', default='work_dirs/benchmark/equal_learning', help='(default: %(default)s)')
    parser.add_argument('--out', help='the page; a picture is put beside it (default: equal_learning.md in the work '
                        'dir)')


@COMMANDS.register('equal-learning', _learning_options,
                   help='loss and probe with what makes training fast, or without',
                   description='Train with the same seeds as the package ships it and with one thing switched, probe '
                   'each run, and write a table with the loss curves. The same command goes on with an interrupted '
                   'run.')
def _equal_learning(args: argparse.Namespace) -> None:
    from .equal_learning import compare_learning, print_learning, write_learning
    configs = default_configs()
    config = args.config or configs[0]
    make_scenes(config)
    document = compare_learning(config, args.probe or configs[1], args.work_dir, args.steps, args.seeds, args.switches,
                                args.jobs, args.cfg_options)
    print_learning(document)
    files = write_learning(document, args.out or f'{args.work_dir}/equal_learning.md', typed_command())
    print('wrote ' + ', '.join(map(str, [*files, f'{args.work_dir}/equal_learning.json'])))
