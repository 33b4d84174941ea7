"""What ``tools/benchmark.py`` does with chains of trainings and probes; heavy imports stand in the runs."""
import argparse
from pathlib import Path

from egmim_mm.benchmark.suite_commands import COMMANDS, typed_command
from egmim_mm.subcommands import add_device

__all__ = ['COMMANDS']

DUBAI = ('configs/dubai_cpu/egmim_dapt.py', 'configs/dubai_cpu/upernet.py')


def default_configs() -> tuple[str, str]:
    """Configs of pretraining and of its probe: of Dubai if its images are here, else of the quickstart's scenes."""
    from egmim_mm.environment import SHIPPED

    from .quickstart import DAPT, UPERNET
    chosen = DUBAI if Path('data/dubai').is_dir() else (DAPT, UPERNET)
    return tuple(str(SHIPPED / path) if not Path(path).is_file() else path for path in chosen)


def make_scenes(config: str) -> None:
    """The scenes of the quickstart, if its config is used and they are not there."""
    from egmim_mm.synthetic import write_dataset

    from .quickstart import DAPT, DATA, SCENES
    if config.endswith(DAPT):
        write_dataset(DATA, **SCENES)


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
    from egmim_mm.benchmark.machine import check_device
    from egmim_mm.benchmark.rows import print_rows
    from egmim_mm.cores import cores_per_process
    from egmim_mm.records.provenance import git_state, package_versions, write_json

    from .time_to_score import measure_scores, score_rows
    configs = default_configs()
    pretrain = args.pretrain or configs[0]
    device, threads = check_device(args.device), args.threads or cores_per_process()
    make_scenes(pretrain)
    curves = measure_scores(args.work_dir, pretrain, args.probe or configs[1], device, threads, args.steps, args.looks,
                            args.seeds)
    document = print_rows(score_rows(curves, args.score), device, threads)
    write_json(Path(args.work_dir, 'time_to_score.json'), dict(
        document, curves=curves, command=typed_command(), versions=package_versions(), git=git_state()))
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
